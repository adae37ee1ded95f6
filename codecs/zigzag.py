"""Signed values folded to one side, so that small symbols stand for small magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Context, Header, header_of
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError

_MOST_CENTRE = 127


@dataclass(frozen=True, slots=True)
class ZigzagConfig:
    """The symbol that stands for zero, from 0 to 127; 127 is that of ``symmetric`` at 8 bits."""

    centre: int = _MOST_CENTRE

    def __post_init__(self) -> None:
        if not 0 <= self.centre <= _MOST_CENTRE:
            raise CodecError(f"zigzag: centre is {self.centre}, must be 0 to {_MOST_CENTRE}")


class Zigzag(Transform):
    """Symbols (uint8) in the order of their distance from the centre; exact.

    ``centre, centre - 1, centre + 1, centre - 2, ...`` become 0, 1, 2, 3, ...; symbols beyond
    twice the centre stay. Latents of a learned prior are spread around zero and differ in their
    spread: behind this transform ``rans-neighbours`` predicts magnitudes, which it can, instead of
    signs, which nothing can.

    Source: the encoding of signed integers in Protocol Buffers (there named so).
    """

    id = "zigzag"
    Config = ZigzagConfig

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return no side and the folded symbols of a uint8 array."""
        self.layout(header_of(array))
        return b"", self._folded[array]

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the symbols."""
        return self._unfolded[inner]

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return no side and the same header."""
        if header.dtype != "uint8":
            raise CodecError(f"zigzag: takes symbols (uint8), not {header.dtype}")
        return 0, header

    @cached_property
    def _unfolded(self) -> NDArray[np.uint8]:
        folded = np.arange(2 * self.config.centre + 1)
        distance = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
        symbols = np.arange(256)
        symbols[: len(folded)] = self.config.centre + distance
        return symbols.astype(np.uint8)

    @cached_property
    def _folded(self) -> NDArray[np.uint8]:
        return np.argsort(self._unfolded).astype(np.uint8)
