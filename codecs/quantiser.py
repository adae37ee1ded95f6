"""What uniform quantisers share: ranges chosen for each payload, or fixed by calibration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.bits import Pack, PackConfig
from splitnet.codecs.clipping import RULES
from splitnet.codecs.grid import LARGEST, Grid
from splitnet.codecs.transform import Transform
from splitnet.config import nearest
from splitnet.errors import CodecError, CorruptPayloadError

FLOATS = ("float32", "float16")
CHANNEL_AXIS = 1

Rows = NDArray[np.float32]


class Quantiser(Transform):
    """Maps floats to uint8 symbols of the same shape, below ``2**bits``.

    By itself it packs the symbols; in a pipeline the next stage sees them.
    """

    @abstractmethod
    def _fixed(self) -> Grid | None:
        """Return the grid of the configuration, with ends ``(K,)``, ``None`` if there is none."""

    @abstractmethod
    def _fitted(self, rows: Rows) -> Grid:
        """Return the grid ``(K,)`` for finite `rows` ``(K, n)``."""

    @abstractmethod
    def _side(self, grid: Grid) -> bytes:
        """Return `grid` as bytes."""

    @abstractmethod
    def _read(self, side: Buffer) -> Grid:
        """Return the grid ``(K,)`` in a side of the right length."""

    @abstractmethod
    def _side_bytes(self) -> int:
        """Return the length of the side for one channel."""

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return the side (nothing for a fixed range) and the symbols of a finite array."""
        header = header_of(array)
        self.layout(header)
        rows = self._rows(array.astype(np.float32, copy=False))
        if rows.size and not (isfinite(float(rows.min())) and isfinite(float(rows.max()))):
            raise CodecError(f"{self.id}: the array holds NaN or infinity, which have no symbol")
        grid, side = self._fixed(), b""
        if grid is None:
            grid = self._fitted(rows)
            side = self._side(grid)
        symbols = self._spread(grid, header).symbols(np.atleast_1d(array))
        return side, symbols.reshape(header.shape)

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the values in the dtype of `header`."""
        grid = self._fixed() or self._read(side)
        if not grid.fits(header.dtype):
            raise CorruptPayloadError(f"{self.id}: steps leave the range of {header.dtype}")
        if inner.size and inner.max() > grid.top:
            raise CorruptPayloadError(
                f"{self.id}: symbol {inner.max()} is above {grid.top}, the largest of "
                f"{self.config.bits} bits"
            )
        values = self._spread(grid, header).values(np.atleast_1d(inner))
        return values.astype(header.dtype, copy=False).reshape(header.shape)

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return the length of the side and uint8 symbols of the same shape."""
        if header.dtype not in FLOATS:
            raise CodecError(
                f"{self.id}: {header.dtype} is not quantised, only {', '.join(FLOATS)}"
            )
        channels = self._channels(header)
        fixed = self._fixed()
        if fixed is None:
            return channels * self._side_bytes(), Header("uint8", header.shape)
        if fixed.step.size not in (1, channels):
            raise CodecError(
                f"{self.id}: {fixed.step.size} ranges are fixed, {header.shape} has {channels} "
                "channels"
            )
        return 0, Header("uint8", header.shape)

    def last_stage(self) -> Codec:
        """Return the packing of symbols."""
        return Pack(PackConfig(self.config.bits))

    def _channels(self, header: Header) -> int:
        if not self.config.per_channel:
            return 1
        if len(header.shape) <= CHANNEL_AXIS:
            raise CodecError(f"{self.id}: {header.shape} has no axis {CHANNEL_AXIS} for channels")
        return header.shape[CHANNEL_AXIS]

    def _rows(self, array: Array) -> Rows:
        """Return the values as one row a channel, or one row."""
        if not self.config.per_channel:
            return array.reshape(1, -1)
        channels = array.shape[CHANNEL_AXIS]
        columns = array.size // channels if channels else 0
        return np.moveaxis(array, CHANNEL_AXIS, 0).reshape(channels, columns)

    def _spread(self, grid: Grid, header: Header) -> Grid:
        """Return `grid` with ends that broadcast over an array of `header`."""
        shape: tuple[int, ...] = (1,)
        if self.config.per_channel and grid.step.size != 1:
            shape = (-1,) + (1,) * (len(header.shape) - CHANNEL_AXIS - 1)
        return Grid(grid.low.reshape(shape), grid.step.reshape(shape), grid.top, grid.zero)


def check_ranges(codec_id: str, per_channel: bool, *ends: Sequence[float]) -> None:
    """Raise `CodecError` unless all `ends` are finite and one, or with `per_channel` any number."""
    if len({len(end) for end in ends}) > 1:
        raise CodecError(f"{codec_id}: the fixed ranges have {[len(end) for end in ends]} values")
    if len(ends[0]) > 1 and not per_channel:
        raise CodecError(
            f"{codec_id}: {len(ends[0])} ranges are fixed, one tensor has one; set per_channel"
        )
    if not all(abs(value) <= LARGEST for end in ends for value in end):
        raise CodecError(f"{codec_id}: a fixed range is not finite in float32")


def check_clip(codec_id: str, clip: str, share: float) -> None:
    """Raise `CodecError` for an unknown rule, or a share outside (0, 1]."""
    if clip not in RULES:
        known = ", ".join(RULES)
        raise CodecError(f"{codec_id}: unknown clip {clip!r}{nearest(clip, RULES)}; known: {known}")
    if not 0 < share <= 1:
        raise CodecError(f"{codec_id}: share is {share}, must be above 0 and at most 1")
