"""Which table a symbol is coded with, from symbols near it that the decoder has already.

A linear function of integers predicts each symbol from six neighbours in its channel, the same
place and four places around it in a few earlier channels, and how far the earlier channels of the
sample lie above their calibration mean. The prediction, cut into bins, and whether the neighbours
differ much among themselves choose the table. Symbols outside the array count as 0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import Buffer
from splitnet.codecs.tables import Tables, Which
from splitnet.errors import CodecError, CorruptPayloadError

OWN = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
"""Row and column of the neighbours in the channel itself, relative to the symbol."""

OTHER = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
"""Row and column of the neighbours in each earlier channel."""

WEIGHT_BITS = 12
"""Weights are multiples of 2**-12, so a prediction is in 2**-12 symbols."""

CELLS = 4096
"""The range of the predictions is cut into so many cells, from which the bins are made."""

MOST_BINS = 128
"""Each bin has two tables."""

MOST_EARLIER = 32
"""So many earlier channels keep a prediction within 32 bits."""

_MAGIC = b"SN1"
_HEAD = struct.Struct("<3sBBBH")  # magic, bits of a symbol, bins, earlier channels, channels
_MOST_BIAS = 1 << 28
_NONE = 0xFFFF  # no earlier channel

Planes = NDArray[np.int64]
"""Symbols ``(N, C, H, W)``."""


def planes_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return (N, C, H, W) of an array of `shape`, which has at least two axes."""
    if len(shape) == 2:
        return shape[0], shape[1], 1, 1
    return shape[0], shape[1], prod(shape[2:-1]), shape[-1]


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Weights of the prediction, bounds of the bins, and the tables.

    Attributes
    ----------
    bits
        Predictions are from 0 to ``2**bits``.
    bias, mean
        int32 ``(C,)``: the constant of the prediction and the calibration mean, in 2**-12 and in
        1/256 symbols.
    own
        int16 ``(C, 9)``: weights of `OWN`, of the first row, of the first column, and of the
        mean height of the earlier channels above their means.
    earlier
        uint16 ``(C, K)``: numbers of earlier channels, 65535 for none.
    other
        int16 ``(C, K, 5)``: weights of `OTHER` in these channels.
    bounds
        uint16 ``(B - 1,)``, ascending: the first cell of each bin but the first.
    rough
        uint16 ``(B,)``: above this sum of differences among neighbours, the bin's second table
        is used.
    tables
        ``2 B`` tables.

    Raises
    ------
    CorruptPayloadError
        A number is out of its range.
    """

    bits: int
    bias: NDArray[np.int32]
    mean: NDArray[np.int32]
    own: NDArray[np.int16]
    earlier: NDArray[np.uint16]
    other: NDArray[np.int16]
    bounds: NDArray[np.uint16]
    rough: NDArray[np.uint16]
    tables: Tables

    def __post_init__(self) -> None:
        before = np.arange(len(self.bias))[:, None]
        if (
            not 1 <= self.bits <= 8
            or self.earlier.shape[1] > MOST_EARLIER
            or (np.abs(self.bias.astype(np.int64)) > _MOST_BIAS).any()
            or (self.mean < 0).any()
            or (self.mean > 255 << 8).any()
            or not ((self.earlier < before) | (self.earlier == _NONE)).all()
            or (np.diff(self.bounds.astype(np.int64), prepend=0, append=CELLS) < 0).any()
            or len(self.tables.frequencies) != 2 * len(self.rough)
        ):
            raise CorruptPayloadError("a table of neighbours has a number out of its range")

    @property
    def channels(self) -> int:
        """How many channels an array must have."""
        return len(self.bias)

    @cached_property
    def bin_of_cell(self) -> NDArray[np.uint8]:
        """The bin of each cell ``(4096,)``."""
        return np.searchsorted(self.bounds, np.arange(CELLS), side="right").astype(np.uint8)

    @cached_property
    def records(self) -> bytes:
        """One record a channel, as the canonical bytes hold it."""
        rows = np.zeros(self.channels, _record(self.earlier.shape[1]))
        rows["bias"], rows["mean"], rows["own"] = self.bias, self.mean, self.own
        rows["earlier"], rows["other"] = self.earlier, self.other
        return rows.tobytes()

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise `CodecError` if these are weights of another number of channels."""
        if len(shape) < 2 or shape[1] != self.channels:
            raise CodecError(
                f"weights of {self.channels} channels do not fit an array of shape {shape}, whose "
                "axis 1 must have as many"
            )

    def which(self, symbols: NDArray[np.uint8], given: int = 0) -> Which:
        """Return the table of each symbol behind the first `given` channels, flat."""
        planes = symbols.reshape(planes_shape(symbols.shape)).astype(np.int64)
        found = np.empty(planes.shape, np.uint8)
        heights = self.heights(planes)
        for c in range(given, self.channels):
            sums = self.row_sums(planes, c, heights[:, c])
            for weight, (row, column) in zip(self.own[c].tolist(), OWN, strict=False):
                sums += weight * shifted(planes[:, c], row, column)
            found[:, c] = self.choose(sums, roughness(planes[:, c]))
        return found[:, given:].ravel()

    def heights(self, planes: Planes) -> NDArray[np.int64]:
        """Return how far the channels in front of each lie above their means ``(N, C)``."""
        size = planes.shape[2] * planes.shape[3]
        above = (planes.sum(axis=(2, 3)) << 8) - self.mean.astype(np.int64) * size
        totals = np.cumsum(above, axis=1) - above
        heights: NDArray[np.int64] = totals // np.maximum(np.arange(self.channels) * size, 1)
        return heights

    def row_sums(self, planes: Planes, c: int, heights: NDArray[np.int64]) -> Planes:
        """Return the part of the predictions of channel `c` that its own symbols do not change."""
        *_, first_row, first_column, height = self.own[c].tolist()
        sums = np.full(planes[:, c].shape, int(self.bias[c]), np.int64)
        sums += (height * heights >> 8)[:, None, None]
        sums[:, :1] += first_row
        sums[:, :, :1] += first_column
        known = self.earlier[c] != _NONE
        earlier = planes[:, self.earlier[c][known]]
        for weights, place in zip(self.other[c][known].T.astype(np.int64), OTHER, strict=True):
            sums += shifted(np.tensordot(earlier, weights, (1, 0)), *place)
        return sums

    def choose(self, sums: NDArray[np.int64], rough: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the table for predictions `sums` and roughness `rough`."""
        cells = np.clip(sums >> self.bits, 0, CELLS - 1)
        bins = self.bin_of_cell[cells]
        found: NDArray[np.uint8] = (bins << 1) + (rough > self.rough[bins]).astype(np.uint8)
        return found

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: head, channels, bins, tables (docs/entropy-coding.md)."""
        earlier = self.earlier.shape[1]
        head = _HEAD.pack(_MAGIC, self.bits, len(self.rough), earlier, self.channels)
        bins = self.bounds.astype("<u2").tobytes() + self.rough.astype("<u2").tobytes()
        return head + self.records + bins + self.tables.to_bytes()

    @classmethod
    def from_bytes(cls, data: Buffer) -> Neighbourhood:
        """Return the neighbourhood in `data`.

        Raises
        ------
        CorruptPayloadError
            `data` is not exactly what `to_bytes` returns for some neighbourhood.
        """
        if len(data) < _HEAD.size or bytes(data[:3]) != _MAGIC:
            raise CorruptPayloadError(
                f"{len(data)} bytes are no weights of neighbours, which begin with {_MAGIC!r}"
            )
        _, bits, bins, earlier, channels = _HEAD.unpack_from(data)
        record = _record(earlier)
        middle = _HEAD.size + channels * record.itemsize
        end = middle + 2 * (2 * bins - 1)
        if not 1 <= bins <= MOST_BINS or channels == 0 or len(data) < end:
            raise CorruptPayloadError(
                f"{len(data)} bytes for weights of {channels} channels and {bins} bins, must be "
                f"more than {end}"
            )
        rows = np.frombuffer(data, record, channels, _HEAD.size)
        limits = np.frombuffer(data, "<u2", 2 * bins - 1, middle).astype(np.uint16)
        return cls(
            bits,
            rows["bias"].astype(np.int32),
            rows["mean"].astype(np.int32),
            rows["own"].astype(np.int16),
            rows["earlier"].astype(np.uint16),
            rows["other"].astype(np.int16),
            limits[: bins - 1],
            limits[bins - 1 :],
            Tables.from_bytes(memoryview(data)[end:]),
        )


def _record(earlier: int) -> np.dtype[np.void]:
    fields = [("bias", "<i4", ()), ("mean", "<i4", ()), ("own", "<i2", (len(OWN) + 3,))]
    fields += [("earlier", "<u2", (earlier,)), ("other", "<i2", (earlier, len(OTHER)))]
    return np.dtype(fields)


def shifted(plane: Planes, row: int, column: int) -> Planes:
    """Return, for each place of ``(N, H, W)``, what lies `row` and `column` from it, or 0."""
    height, width = plane.shape[1:]
    found = np.zeros_like(plane)
    target = (_inside(-row, height), _inside(-column, width))
    source = (_inside(row, height), _inside(column, width))
    found[:, target[0], target[1]] = plane[:, source[0], source[1]]
    return found


def _inside(offset: int, size: int) -> slice:
    return slice(min(max(offset, 0), size), max(min(size + offset, size), 0))


def roughness(plane: Planes) -> Planes:
    """Return how much the left and the upper neighbours of each symbol differ."""
    left, up, left_up, right_up = (shifted(plane, *place) for place in OWN[:4])
    rough: Planes = np.abs(left - left_up) + np.abs(up - left_up) + np.abs(up - right_up)
    return rough
