"""A base and refinements: each further part of a payload halves the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.affine import Affine, AffineConfig
from splitnet.codecs.base import (
    NO_CONTEXT,
    Array,
    Buffer,
    Context,
    Header,
    check_parts,
    tables_of,
)
from splitnet.codecs.bits import Pack, PackConfig
from splitnet.codecs.making import make_codec
from splitnet.codecs.packing import pack
from splitnet.codecs.parted import Parted
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


class Refined(Parted):
    """Writes an array as a base and refinements, each usable with all that come before.

    The finest symbol q counts steps of ``(high - low) / ((2**bits - 1) * 2**refinements)``. One
    part less, it is rounded up to ``(q + 1) >> 1`` steps of twice the size, so that a zero at the
    lower end stays exact in every part, and a refinement is one bit: whether q was rounded up. A
    value of which refinements miss becomes the middle of what it may be: with k of n the error is
    at most half of ``(high - low) / (2**bits - 1) / 2**k`` and half a finest step.

    The parts go as separate messages (`encode_parts`); `encode` packs them into one payload.
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

    @property
    def parts(self) -> int:
        """The base and each refinement."""
        return 1 + int(self.config.refinements)

    def encode_parts(self, array: Array, context: Context = NO_CONTEXT) -> list[bytes]:
        """Return the base and each refinement."""
        side, symbols = self._quantiser.split(array, context)
        layers: list[bytes] = []
        for _ in range(self.config.refinements):
            layers.append(self._layer.encode(symbols & np.uint8(1), context))
            symbols = (symbols >> 1) + (symbols & np.uint8(1))
        return [side + self._base.encode(symbols, context), *reversed(layers)]

    def decode_parts_batch(
        self,
        batch: Sequence[Sequence[Buffer]],
        headers: Sequence[Header],
        context: Context = NO_CONTEXT,
    ) -> list[Array]:
        """Return the arrays of `headers`; bases, and refinements of one number, go together."""
        check_parts(self.id, batch, self.parts)
        layouts = [self._quantiser.layout(header) for header in headers]
        bases = [memoryview(parts[0]) for parts in batch]
        for base, (length, _) in zip(bases, layouts, strict=True):
            if len(base) < length:
                raise CorruptPayloadError(
                    f"refined: {len(base)} bytes, the side alone has {length}"
                )
        inner = [layout[1] for layout in layouts]
        written = [base[length:] for base, (length, _) in zip(bases, layouts, strict=True)]
        symbols = self._base.decode_batch(written, inner, context)
        for number in range(1, self.parts):
            places = [place for place, parts in enumerate(batch) if len(parts) > number]
            layers = [batch[place][number] for place in places]
            bits = self._layer.decode_batch(layers, [inner[place] for place in places], context)
            for place, rounded in zip(places, bits, strict=True):
                symbols[place] = _refine(symbols[place], rounded)
        return [
            self._quantiser.join(base[:length], _finest(found, parts, self.parts), header, context)
            for base, (length, _), found, parts, header in zip(
                bases, layouts, symbols, batch, headers, strict=True
            )
        ]

    def encoded_header(self, header: Header) -> Header | None:
        """Return the sizes of all parts and of their lengths, where both writers tell them."""
        length, inner = self._quantiser.layout(header)
        base, layer = self._base.encoded_header(inner), self._layer.encoded_header(inner)
        if base is None or layer is None:
            return None
        framing = len(pack([b""] * self.parts))
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


def _finest(symbols: Array, parts: Sequence[Buffer], count: int) -> Array:
    """Return the finest symbols from those of some first parts: the middle of what they may be.

    A symbol s of a part that ``missing`` others would refine stands for the finest symbols above
    ``(s - 1) << missing`` up to ``s << missing``; 0 for 0 alone.
    """
    missing = count - len(parts)
    if not missing:
        return symbols
    highest = symbols << np.uint8(missing)
    return highest - (highest > 0) * np.uint8(1 << (missing - 1))
