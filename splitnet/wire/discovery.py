"""The messages that find workers and fetch files by hash; the latter are not sent yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from splitnet.wire.bounds import (
    MAX_PAYLOAD_BYTES,
    MAX_WORKERS,
    U32,
    U64,
    Endpoint,
    Hash,
    Hashes,
    Key,
    WorkerLoad,
)
from splitnet.wire.fields import Binary, Integer, Many, Record, field_types
from splitnet.wire.payload import Payload


@dataclass(frozen=True, slots=True)
class Get:
    """Either side: send `length` bytes from `offset` of the file with this SHA-256."""

    kind: ClassVar[int] = 15
    sha256: Hash
    offset: U64
    length: Annotated[int, Integer(1, MAX_PAYLOAD_BYTES)]


@dataclass(frozen=True, slots=True)
class Blob:
    """The answer to `Get`: bytes from `offset` of a file of `total` bytes."""

    kind: ClassVar[int] = 16
    sha256: Hash
    offset: U64
    total: U64
    payload: Payload


@dataclass(frozen=True, slots=True)
class Lookup:
    """Edge to directory: name the workers that serve these paths."""

    kind: ClassVar[int] = 17
    paths: Hashes


@dataclass(frozen=True, slots=True)
class WorkerOffer:
    """One worker of an `Offer`: where it is, how to reach it, and how busy it is.

    Attributes
    ----------
    endpoint, key
        ZeroMQ address and CURVE public key (empty without CURVE).
    ticket
        Proof for worker and gateway that the directory sent the edge.
    lease_ms
        For how long this holds.
    """

    worker: U64
    endpoint: Endpoint
    key: Key
    ticket: Annotated[bytes, Binary(range(256))]
    lease_ms: U32
    load: WorkerLoad


@dataclass(frozen=True, slots=True)
class Offer:
    """Directory to edge: the answer to `Lookup`, best worker first."""

    kind: ClassVar[int] = 18
    workers: Annotated[
        tuple[WorkerOffer, ...], Many(Record(WorkerOffer, field_types(WorkerOffer)), MAX_WORKERS)
    ]


@dataclass(frozen=True, slots=True)
class Announce:
    """Worker to directory: I am here and serve these paths, for `lease_ms` from now."""

    kind: ClassVar[int] = 19
    worker: U64
    endpoint: Endpoint
    key: Key
    lease_ms: U32
    load: WorkerLoad
    paths: Hashes
