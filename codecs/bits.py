"""Symbols of a few bits, packed from the highest bit of each byte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Context, Header, header_of
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError, CorruptPayloadError

Symbols = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PackConfig:
    """How many bits a symbol has, from 1 to 8."""

    bits: int = 8

    def __post_init__(self) -> None:
        check_bits("pack", self.bits, 1)


class Pack(Transform):
    """Lays uint8 symbols below ``2**bits`` side by side; the bits behind the last one are 0."""

    id = "pack"
    Config = PackConfig

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return the packed bytes of an array of any shape."""
        self.layout(header_of(array))
        symbols = np.ascontiguousarray(array).reshape(-1)
        top = (1 << self.config.bits) - 1
        if symbols.size and symbols.max() > top:
            raise CodecError(
                f"pack: symbol {symbols.max()} does not fit {self.config.bits} bits, at most {top}"
            )
        return b"", pack_bits(symbols, self.config.bits)

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the symbols."""
        return unpack_bits(inner, self.config.bits, header.size).reshape(header.shape)

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return no side, and ``ceil(size * bits / 8)`` bytes."""
        if header.dtype != "uint8":
            raise CodecError(f"pack: {header.dtype} {header.shape} is refused, only uint8 symbols")
        return 0, Header("uint8", ((header.size * self.config.bits + 7) // 8,))


def check_bits(codec_id: str, bits: int, least: int) -> None:
    """Raise `CodecError` unless `bits` is from `least` to 8."""
    if not least <= bits <= 8:
        raise CodecError(f"{codec_id}: bits is {bits}, must be from {least} to 8")


def pack_bits(symbols: Symbols, bits: int) -> Symbols:
    """Return `symbols` ``(n,)``, each below ``2**bits``, as ``ceil(n * bits / 8)`` bytes."""
    if bits == 8:
        return symbols
    if bits not in _SHIFTS:
        return np.packbits(np.unpackbits(symbols[:, None], axis=1)[:, 8 - bits :])
    shifts = _SHIFTS[bits]
    rows = np.zeros((-(-symbols.size // len(shifts)), len(shifts)), np.uint8)
    rows.reshape(-1)[: symbols.size] = symbols
    packed = rows[:, 0] << shifts[0]
    for column, shift in enumerate(shifts[1:], start=1):
        packed |= rows[:, column] << shift
    return packed


def unpack_bits(packed: Symbols, bits: int, count: int) -> Symbols:
    """Return the first `count` symbols.

    Raises
    ------
    CorruptPayloadError
        The bits behind the last symbol are not 0.
    """
    if bits == 8:
        return packed
    spare = packed.size * 8 - count * bits
    if spare and int(packed[-1]) & ((1 << spare) - 1):
        raise CorruptPayloadError(f"pack: the {spare} bits behind the last symbol are not 0")
    if bits in _SHIFTS:
        shifts = _SHIFTS[bits]
        mask = np.uint8((1 << bits) - 1)
        symbols = np.empty((packed.size, len(shifts)), np.uint8)
        for column, shift in enumerate(shifts):
            np.bitwise_and(packed >> shift, mask, out=symbols[:, column])
        return symbols.reshape(-1)[:count]
    rows = np.zeros((count, 8), np.uint8)
    rows[:, 8 - bits :] = np.unpackbits(packed)[: count * bits].reshape(count, bits)
    return np.packbits(rows)


_SHIFTS = {
    bits: tuple(np.uint8(shift) for shift in range(8 - bits, -1, -bits)) for bits in (1, 2, 4)
}
"""Where the symbols of one byte lie, for the widths that divide it."""
