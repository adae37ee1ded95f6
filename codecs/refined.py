"""A base and refinements: each further part of a payload halves the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.affine import Affine, AffineConfig
from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, tables_of
from splitnet.codecs.bits import Pack, PackConfig
from splitnet.codecs.making import make_codec
from splitnet.codecs.packing import pack, unpack
from splitnet.errors import CodecError, CorruptPayloadError

MAX_BITS = 8


@dataclass(frozen=True, slots=True)
class RefinedConfig:
    """Bits of the base, one more for each refinement, and the range that they cover.

    Attributes
    ----------
    bits
        Of a symbol of the base, from 1 to 8.
    refinements
        From 1 to 7; with `bits` at most 8.
    per_channel, clip, share, low, high
        As `AffineConfig` has them.
    base, layer
        Configurations of what writes the symbols of the base (below ``2**bits``) and of a
        refinement (0 or 1); an empty one packs their bits.
    """

    bits: int = 2
    refinements: int = 2
    per_channel: bool = False
    clip: str = "min-max"
    share: float = AffineConfig().share
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    layer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bits < 1 or self.refinements < 1 or self.bits + self.refinements > MAX_BITS:
            raise CodecError(
                f"refined: bits is {self.bits} and refinements is {self.refinements}, both must "
                f"be at least 1 and together at most {MAX_BITS}"
            )
        self.quantiser()

    def quantiser(self) -> AffineConfig:
        """Return the configuration of the base's quantiser."""
        return AffineConfig(self.bits, self.per_channel, self.clip, self.share, self.low, self.high)


class Refined(Codec):
    """Writes an array as a base and refinements, each usable with all that come before.

    The finest symbol q counts steps of ``(high - low) / ((2**bits - 1) * 2**refinements)``. One
    part less, it is rounded to ``(q + 1) >> 1`` steps of twice the size, so that low, high and a
    zero at the lower end stay exact in every part, and a refinement is one bit: whether q was
    rounded up. With k of n refinements the error is below ``(high - low) / (2**bits - 1) / 2**k``
    and, with all of them, half of that.

    The parts go as separate messages (`encode_refinements`); `encode` packs them into one payload.
    """

    id = "refined"
    Config = RefinedConfig

    def __init__(self, config: RefinedConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        self._quantiser = _Fine(config.quantiser(), config.refinements)
        self._base = make_codec(config.base) if config.base else Pack(PackConfig(config.bits))
        self._layer = make_codec(config.layer) if config.layer else Pack(PackConfig(1))

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of each table that the writers of base and refinements need."""
        return tables_of([self._base, self._layer])

    def encode_refinements(self, array: Array, context: Context = NO_CONTEXT) -> list[bytes]:
        """Return the base and each refinement.

        Raises
        ------
        CodecError
            As `encode`.
        """
        side, symbols = self._quantiser.split(array, context)
        layers: list[bytes] = []
        for _ in range(self.config.refinements):
            layers.append(self._layer.encode(symbols & np.uint8(1), context))
            symbols = (symbols >> 1) + (symbols & np.uint8(1))
        return [side + self._base.encode(symbols, context), *reversed(layers)]

    def decode_refinements(
        self, parts: Sequence[Buffer], header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the array of `header` from the base and the refinements that arrived, in order.

        Raises
        ------
        CodecError
            As `decode`; also without a base, or with more refinements than there are.
        """
        count = self.config.refinements
        if not 1 <= len(parts) <= count + 1:
            raise CodecError(f"refined: {len(parts)} parts, must be from 1 to {count + 1}")
        length, inner = self._quantiser.layout(header)
        base = memoryview(parts[0])
        if len(base) < length:
            raise CorruptPayloadError(f"refined: {len(base)} bytes, the side alone has {length}")
        symbols = self._base.decode(base[length:], inner, context)
        for part in parts[1:]:
            symbols = _refine(symbols, self._layer.decode(part, inner, context))
        symbols = symbols << np.uint8(count + 1 - len(parts))
        return self._quantiser.join(base[:length], symbols, header, context)

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return all parts in one payload (see `pack`)."""
        return pack(self.encode_refinements(array, context))

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header` from all parts."""
        self._quantiser.layout(header)
        parts = unpack(data, self.config.refinements + 1)
        return self.decode_refinements(parts, header, context)

    def encoded_header(self, header: Header) -> Header | None:
        """Return the sizes of all parts and of their lengths, where both writers tell them."""
        length, inner = self._quantiser.layout(header)
        base, layer = self._base.encoded_header(inner), self._layer.encoded_header(inner)
        if base is None or layer is None:
            return None
        framing = len(pack([b""] * (self.config.refinements + 1)))
        total = length + base.size + self.config.refinements * layer.size + framing
        return Header("uint8", (total,))


class _Fine(Affine):
    """The quantiser of all parts: between its ends lie whole steps of the base."""

    def __init__(self, config: AffineConfig, refinements: int) -> None:
        self._shift = refinements
        super().__init__(config)

    @property
    def _top(self) -> int:
        top: int = ((1 << self.config.bits) - 1) << self._shift
        return top


def _refine(symbols: NDArray[np.uint8], rounded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if rounded.size and (rounded.max() > 1 or (rounded > symbols).any()):
        raise CorruptPayloadError("refined: a symbol of 0 or a refinement above 1 was rounded up")
    if symbols.size and symbols.max() >= 1 << (MAX_BITS - 1):
        raise CorruptPayloadError(f"refined: symbol {symbols.max()} is too large for a refinement")
    return (symbols << np.uint8(1)) - rounded
