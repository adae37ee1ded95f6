"""Several encoded tensors in one payload."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from splitnet.codecs.base import Buffer
from splitnet.errors import CodecError, CorruptPayloadError

_LENGTH = struct.Struct("<I")


def pack(parts: Sequence[Buffer]) -> bytes:
    """Return `parts` one behind the other, each but the last preceded by its length.

    A length is an unsigned 32-bit integer, little endian; one part alone stays as it is.
    """
    if not parts:
        raise CodecError("a payload holds at least one tensor")
    pieces: list[Buffer] = []
    for part in parts[:-1]:
        pieces += [_LENGTH.pack(len(part)), part]
    return b"".join([*pieces, parts[-1]])


def unpack(data: Buffer, count: int) -> list[memoryview]:
    """Return the `count` parts of a payload as views of `data`.

    Raises
    ------
    CorruptPayloadError
        `data` ends before the last part begins.
    """
    rest = memoryview(data)
    parts = []
    for index in range(count - 1):
        length = _LENGTH.unpack_from(rest)[0] if len(rest) >= _LENGTH.size else len(rest)
        if _LENGTH.size + length > len(rest):
            raise CorruptPayloadError(
                f"tensor {index} of {count} ends behind the payload: {len(rest)} bytes are left"
            )
        parts.append(rest[_LENGTH.size : _LENGTH.size + length])
        rest = rest[_LENGTH.size + length :]
    return [*parts, rest]
