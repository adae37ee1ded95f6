"""The messages of protocol version 1; docs/wire.md says who sends which when.

Every time is a difference in microseconds or milliseconds: absolute clocks never cross. Stamps
are the sender's microseconds modulo 2**32 and mean something to the sender alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Annotated, ClassVar, TypeAlias

from splitnet.values import RequestClass
from splitnet.wire.bounds import (
    MAX_PATHS,
    MAX_PAYLOAD_BYTES,
    MAX_REFINEMENTS,
    MIN_CHUNK_BYTES,
    U8,
    U16,
    U32,
    U64,
    UINT16,
    Code,
    Detail,
    Dims,
    Flag,
    Hashes,
    Refinements,
    RequestNumber,
    WorkerLoad,
)
from splitnet.wire.discovery import Announce, Blob, Get, Lookup, Offer
from splitnet.wire.fields import Choice, Integer, Many, Nullable, Row, Text
from splitnet.wire.payload import Payload


class InferFlag(IntFlag):
    """Bits of `Infer.flags`; a receiver ignores those that it does not know."""

    NO_REPLY = 1
    OPEN_STREAM = 2
    CLOSE_STREAM = 4
    WANT_PARTIALS = 8
    MORE_CHUNKS = 16


@dataclass(frozen=True, slots=True)
class Hello:
    """Edge to worker, first on every connection: what the edge speaks, wants and holds.

    Attributes
    ----------
    versions
        Major protocol versions that the edge speaks.
    paths, tables
        Hashes of the paths wanted and of the codec tables held.
    max_reply_bytes
        Largest payload of a reply that the edge takes.
    device
        Name of the edge for logs.
    """

    kind: ClassVar[int] = 1
    versions: Annotated[tuple[int, ...], Many(Integer(1, 2**16 - 1), 16, least=1)]
    paths: Hashes
    tables: Hashes
    max_reply_bytes: U32
    device: Annotated[str, Text(128)]


@dataclass(frozen=True, slots=True)
class Welcome:
    """Worker to edge, the answer to hello: a session, what is served, limits and first credit.

    Attributes
    ----------
    session, epoch
        Number of the session, and of this run of the worker (stream state dies with it).
    handles
        For each path of the hello: (contract handle, path number), ``None`` if not served.
    missing_tables
        Hashes of tables that the served paths need and the hello did not list.
    max_request_bytes, max_chunk_bytes
        Largest sum of the payloads of a request, and largest payload of one message.
    credit_requests, credit_bytes
        The first grant, as in `Credit`.
    heartbeat_ms
        Interval at which the edge pings.
    """

    kind: ClassVar[int] = 2
    session: U32
    epoch: U64
    handles: Annotated[
        tuple[tuple[int, int] | None, ...],
        Many(Nullable(Row({"contract": UINT16, "path": UINT16})), MAX_PATHS),
    ]
    missing_tables: Hashes
    max_request_bytes: U32
    max_chunk_bytes: Annotated[int, Integer(MIN_CHUNK_BYTES, MAX_PAYLOAD_BYTES)]
    credit_requests: U64
    credit_bytes: U64
    heartbeat_ms: Annotated[int, Integer(10, 3_600_000)]


@dataclass(frozen=True, slots=True)
class Infer:
    """Edge to worker: run a request; carries chunk 0 of refinement 0.

    Attributes
    ----------
    contract, path, level
        Contract handle and path number of the welcome, and the level of the payload.
    stop
        Boundary at which to stop; the last one is the end of the model.
    budget_us
        What the worker may use from complete arrival to the start of the reply; 0 = no limit.
    stamp
        Echoed by the reply.
    stream, state
        Stream (0 = none) and the number of the state that the payload refers to (0 = none).
    refinements
        Number of refinements that the edge means to send.
    dims
        Values of the dynamic dimensions in the contract's order.
    flags
        Bits of `InferFlag`.
    checksum
        CRC-32 of this payload.
    """

    kind: ClassVar[int] = 3
    session: U32
    request: RequestNumber
    contract: U16
    path: U16
    level: U8
    stop: U16
    request_class: Annotated[RequestClass, Choice(RequestClass)]
    budget_us: U32
    stamp: U32
    stream: U32
    state: U32
    refinements: Refinements
    dims: Dims
    flags: U32
    checksum: U32
    payload: Payload


@dataclass(frozen=True, slots=True)
class Chunk:
    """Edge to worker: a further piece of a refinement of a request.

    Attributes
    ----------
    index
        Position in the refinement; chunk 0 of refinement 0 is in the `Infer`.
    last
        Whether the refinement is complete with this chunk.
    checksum
        CRC-32 of this payload.
    """

    kind: ClassVar[int] = 4
    request: RequestNumber
    refinement: Annotated[int, Integer(0, MAX_REFINEMENTS - 1)]
    index: U16
    last: Flag
    checksum: U32
    payload: Payload


@dataclass(frozen=True, slots=True)
class Reply:
    """Worker to edge: an answer; one of a request is final.

    Attributes
    ----------
    number
        Counts the replies of the request from 0.
    refinements
        How many refinements the answer is made of.
    state
        Number of the stream's state after this request; 0 = none.
    queue_us, decode_us, run_us
        Waiting, codec and decoder, segments.
    stamp
        That of the `Infer`.
    dims
        Values of the dynamic dimensions of the answer.
    codec
        How the payload is coded; 0 = as the contract's ``reply`` says.
    checksum
        CRC-32 of this payload.
    """

    kind: ClassVar[int] = 5
    request: RequestNumber
    number: U16
    final: Flag
    refinements: Refinements
    state: U32
    queue_us: U32
    decode_us: U32
    run_us: U32
    load: WorkerLoad
    stamp: U32
    dims: Dims
    codec: U8
    checksum: U32
    payload: Payload


@dataclass(frozen=True, slots=True)
class Error:
    """Either side: a request, or with `request` 0 the connection, ended without an answer.

    Attributes
    ----------
    retry_after_ms
        When the same may be tried again; 0 = nothing is known.
    detail
        One line for people; cut to 512 bytes when it is sent.
    """

    kind: ClassVar[int] = 6
    request: U32
    code: Code
    retry_after_ms: U32
    detail: Detail


@dataclass(frozen=True, slots=True)
class Cancel:
    """Edge to worker: the answer to `request` is no longer wanted."""

    kind: ClassVar[int] = 7
    request: RequestNumber


@dataclass(frozen=True, slots=True)
class CancelAck:
    """Worker to edge: `request` was waiting and is gone if `found`, else ended or running."""

    kind: ClassVar[int] = 8
    request: RequestNumber
    found: Flag


@dataclass(frozen=True, slots=True)
class Ping:
    """Edge to worker: answer me, with this number and stamp."""

    kind: ClassVar[int] = 9
    number: U32
    stamp: U32


@dataclass(frozen=True, slots=True)
class Pong:
    """Worker to edge: the answer to a `Ping` or a `Probe`, with its number and stamp."""

    kind: ClassVar[int] = 10
    number: U32
    stamp: U32
    load: WorkerLoad


@dataclass(frozen=True, slots=True)
class Probe:
    """Edge to worker: a `Ping` with a payload of no meaning, to measure the link."""

    kind: ClassVar[int] = 11
    number: U32
    stamp: U32
    payload: Payload


@dataclass(frozen=True, slots=True)
class ProgressAck:
    """Worker to edge: bytes of all messages received so far on this connection."""

    kind: ClassVar[int] = 12
    received_bytes: U64


@dataclass(frozen=True, slots=True)
class Credit:
    """Worker to edge: requests and payload bytes granted since the connection began."""

    kind: ClassVar[int] = 13
    requests: U64
    bytes: U64


@dataclass(frozen=True, slots=True)
class StreamLost:
    """Worker to edge: the state of `stream` is gone; send from `replay_from`, 0 = a key frame."""

    kind: ClassVar[int] = 14
    stream: Annotated[int, Integer(1, 2**32 - 1)]
    replay_from: U32


@dataclass(frozen=True, slots=True)
class Bye:
    """Either side, last on a connection: why it ends."""

    kind: ClassVar[int] = 20
    code: Code
    detail: Detail


Message: TypeAlias = (
    Hello
    | Welcome
    | Infer
    | Chunk
    | Reply
    | Error
    | Cancel
    | CancelAck
    | Ping
    | Pong
    | Probe
    | ProgressAck
    | Credit
    | StreamLost
    | Get
    | Blob
    | Lookup
    | Offer
    | Announce
    | Bye
)
