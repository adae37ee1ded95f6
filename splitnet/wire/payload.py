"""What a message carries besides its head: bytes, or in the simulator only their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias
from zlib import crc32

from splitnet.records import record

Buffer: TypeAlias = bytes | bytearray | memoryview


@record(frozen=True, slots=True)
class Hollow:
    """A payload of `nbytes` bytes without content: the simulator moves sizes, not tensors.

    It has a length and can be sliced like bytes; it cannot be encoded.

    Examples
    --------
    >>> Hollow(20_000)[16_384:24_576]
    Hollow(nbytes=3616)
    """

    nbytes: int

    def __len__(self) -> int:
        return self.nbytes

    def __getitem__(self, part: slice) -> Hollow:
        return Hollow(len(range(*part.indices(self.nbytes))))


Payload: TypeAlias = bytes | bytearray | memoryview | Hollow


def checksum(payload: Payload) -> int:
    """Return the CRC-32 (ISO-HDLC, as in zlib) of `payload`; 0 for a `Hollow` one."""
    return 0 if isinstance(payload, Hollow) else crc32(payload)


def join(parts: Sequence[Payload]) -> Payload:
    """Return the chunks `parts` as one payload, `Hollow` if any of them is; one part as it is."""
    if len(parts) == 1:
        return parts[0]
    buffers = [part for part in parts if not isinstance(part, Hollow)]
    if len(buffers) < len(parts):
        return Hollow(sum(len(part) for part in parts))
    return b"".join(buffers)
