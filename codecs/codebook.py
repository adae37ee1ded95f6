"""Quantisation to the nearest value of a list that was fitted to calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.bits import Pack, PackConfig, check_bits
from splitnet.codecs.grid import LARGEST
from splitnet.codecs.quantiser import CHANNEL_AXIS, FLOATS
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError, CorruptPayloadError

_ROUNDS = 100
_TOLERANCE = 1e-5  # of the range; smaller moves of every value end the fitting

Rows = NDArray[np.float32]
Levels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CodebookConfig:
    """Bits of a symbol and the values that symbols stand for.

    Attributes
    ----------
    bits
        From 1 to 8.
    levels
        ``2**bits`` ascending values for the tensor, or a list of such lists, one a channel
        (axis 1).
    """

    levels: tuple[tuple[float, ...], ...]
    bits: int = 2

    def __post_init__(self) -> None:
        check_bits("codebook", self.bits, 1)
        object.__setattr__(self, "levels", tuple(tuple(row) for row in self.levels))
        if not self.levels or {len(row) for row in self.levels} != {1 << self.bits}:
            raise CodecError(
                f"codebook: levels must be one or more lists of {1 << self.bits} values"
            )
        for row in self.levels:
            if not all(isfinite(value) and abs(value) <= LARGEST for value in row):
                raise CodecError("codebook: a level is not finite in float32")
            if any(low > high for low, high in pairwise(row)):
                raise CodecError("codebook: levels must ascend")


class Codebook(Transform):
    """Maps floats to the nearest of ``2**bits`` values; a payload carries no side.

    By itself it packs the symbols. Values fitted by `fit_levels` have the least squared error that
    so many values can have.
    """

    id = "codebook"
    Config = CodebookConfig

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__(config)
        self._levels = np.array(config.levels, np.float32)
        exact = self._levels.astype(np.float64)
        self._bounds = ((exact[:, 1:] + exact[:, :-1]) / 2).astype(np.float32)

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return no side and the symbols of a finite array."""
        header = header_of(array)
        self.layout(header)
        if not np.isfinite(array).all():
            raise CodecError("codebook: the array holds NaN or infinity, which have no symbol")
        symbols = np.zeros(header.shape, np.uint8)
        for place, number in self._places():
            values = array[place].astype(np.float32, copy=False)
            symbols[place] = np.searchsorted(self._bounds[number], values)
        return b"", symbols

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the values in the dtype of `header`."""
        top = self._levels.shape[1] - 1
        if inner.size and inner.max() > top:
            raise CorruptPayloadError(f"codebook: symbol {inner.max()} is above {top}, the largest")
        values = np.empty(header.shape, np.float32)
        for place, number in self._places():
            values[place] = self._levels[number][inner[place]]
        with np.errstate(over="ignore"):
            return values.astype(header.dtype, copy=False)

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return no side and uint8 symbols of the same shape."""
        if header.dtype not in FLOATS:
            raise CodecError(f"codebook: {header.dtype} is refused, only {', '.join(FLOATS)}")
        channels, shape = len(self._levels), header.shape
        if channels > 1 and (len(shape) <= CHANNEL_AXIS or shape[CHANNEL_AXIS] != channels):
            raise CodecError(
                f"codebook: levels of {channels} channels do not fit shape {shape}, whose axis "
                f"{CHANNEL_AXIS} must have as many"
            )
        return 0, Header("uint8", shape)

    def last_stage(self) -> Codec:
        """Return the packing of symbols."""
        return Pack(PackConfig(self.config.bits))

    def _places(self) -> list[tuple[Any, int]]:
        """Return an index of the part of an array that each row of levels is for."""
        if len(self._levels) == 1:
            return [(..., 0)]
        return [((slice(None), number), number) for number in range(len(self._levels))]


def fit_levels(rows: Rows, bits: int) -> list[list[float]]:
    """Return the values of least squared error for each row ``(n,)`` of `rows` ``(K, n)``.

    Where most values of a row are its minimum (zeros behind a ReLU), the lowest level stays there.

    Source: Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory,
    1982.
    """
    return [[float(np.float32(level)) for level in _fit(row, 1 << bits)] for row in rows]


def _fit(row: Rows, count: int) -> NDArray[np.float64]:
    ordered = np.sort(row).astype(np.float64)
    low, high = ordered[0], ordered[-1]
    pinned = float((ordered == low).mean()) > 1 / count
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    upper = ordered[min(int(0.995 * ordered.size), ordered.size - 1)]
    levels: NDArray[np.float64] = np.linspace(low, max(upper, low), count)
    for _ in range(_ROUNDS):
        ends = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2, side="right")
        bounds = np.concatenate([[0], ends, [ordered.size]])
        sizes = np.diff(bounds)
        means = np.diff(sums[bounds]) / np.maximum(sizes, 1)
        moved = np.maximum.accumulate(np.where(sizes > 0, means, levels))
        if pinned:
            moved[0] = low
        done = np.abs(moved - levels).max() <= _TOLERANCE * (high - low)
        levels = moved
        if done:
            break
    return levels
