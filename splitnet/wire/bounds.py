"""Bounds of the protocol and the types of the fields that several messages share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from splitnet.errors import WireCode
from splitnet.values import Load
from splitnet.wire.fields import Binary, Boolean, Choice, Integer, Many, Prose, Record, Text

MAX_PAYLOAD_BYTES = 64 * 2**20
"""Largest payload of one message; a transport refuses larger frames before it reads them."""

MISSED_HEARTBEATS = 3
"""Intervals of silence after which a side forgets the other (docs/wire.md)."""

MAX_REFINEMENTS = 64
MAX_DIMS = 32
MAX_PATHS = 256
MAX_WORKERS = 64

MIN_CHUNK_BYTES = 512
"""Least that a worker may allow as a chunk: below, heads would outweigh payloads."""

UINT8 = Integer(0, 2**8 - 1)
UINT16 = Integer(0, 2**16 - 1)
UINT32 = Integer(0, 2**32 - 1)
UINT64 = Integer(0, 2**64 - 1)
HASH = Binary(range(32, 33))
"""A SHA-256."""

U8: TypeAlias = Annotated[int, UINT8]
U16: TypeAlias = Annotated[int, UINT16]
U32: TypeAlias = Annotated[int, UINT32]
U64: TypeAlias = Annotated[int, UINT64]
Flag: TypeAlias = Annotated[bool, Boolean()]
RequestNumber: TypeAlias = Annotated[int, Integer(1, 2**32 - 1)]
Dims: TypeAlias = Annotated[tuple[int, ...], Many(UINT32, MAX_DIMS)]
Refinements: TypeAlias = Annotated[int, Integer(1, MAX_REFINEMENTS)]
Hash: TypeAlias = Annotated[bytes, HASH]
Hashes: TypeAlias = Annotated[tuple[bytes, ...], Many(HASH, MAX_PATHS)]
Key: TypeAlias = Annotated[bytes, Binary(range(0, 33, 32))]
"""A CURVE public key of 32 bytes, or nothing where CURVE is off."""

Endpoint: TypeAlias = Annotated[str, Text(255)]
Detail: TypeAlias = Annotated[str, Prose(512)]
Code: TypeAlias = Annotated[WireCode, Choice(WireCode, unknown=WireCode.INTERNAL)]
WorkerLoad: TypeAlias = Annotated[
    Load,
    Record(
        Load,
        {
            "queued": UINT32,
            "wait_us": UINT32,
            "busy_permille": Integer(0, 1000),
            "batch": UINT16,
        },
    ),
]
