"""Weights and tables of the neighbour coder from calibration data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.fitting import Counts, count_symbols, tables_of_counts
from splitnet.codecs.neighbourhood import (
    CELLS,
    MOST_BINS,
    MOST_EARLIER,
    OTHER,
    OWN,
    WEIGHT_BITS,
    Neighbourhood,
    planes_shape,
    roughness,
    shifted,
)
from splitnet.codecs.tables import ESCAPE, MAX_PRECISION, Tables
from splitnet.errors import CodecError

_RIDGE = 1e-4  # of the mean square, against features that hardly vary
_PLACES = 20_000  # places a channel that the weights are fitted to
_FINE_BINS = 160  # from which neighbours are merged
_PRIOR = 0.1
_NONE = 0xFFFF
_SMALL_PRECISION = 12
_FEW_SYMBOLS = 64  # up to so many, tables of 2**12 slots are enough, and fit the cache together

Matrix = NDArray[np.floating[Any]]
Planes = NDArray[np.int64]


def fit_neighbourhood(
    symbols: NDArray[np.uint8], *, earlier: int = 12, bins: int = 24
) -> Neighbourhood:
    """Return weights and tables for symbols such as `symbols`.

    Parameters
    ----------
    symbols
        uint8 ``(N, C, ...)``, what a quantiser makes of calibration data.
    earlier
        From how many earlier channels a symbol is predicted, at most.
    bins
        How many bins a prediction falls into, at most; each has two tables.

    Raises
    ------
    CodecError
        There are no symbols or no channels, or an option is out of range.
    """
    if symbols.dtype != np.uint8 or symbols.ndim < 2 or symbols.size == 0:
        raise CodecError(
            f"weights are fitted to uint8 symbols (N, C, ...), not to {symbols.dtype} of shape "
            f"{symbols.shape}"
        )
    if not 1 <= bins <= MOST_BINS or not 0 <= earlier <= MOST_EARLIER:
        raise CodecError(
            f"bins is {bins}, must be 1 to {MOST_BINS}; earlier is {earlier}, must be 0 to "
            f"{MOST_EARLIER}"
        )
    planes = symbols.reshape(planes_shape(symbols.shape)).astype(np.int64)
    bits = max(1, int(symbols.max()).bit_length())
    plain = _fit_weights(planes, bits, earlier)
    cells, rough = _cells(plain, planes)
    bounds = _fit_bounds(cells, symbols.ravel(), bins)
    fitted = np.searchsorted(bounds, cells, side="right")
    limits = _fit_rough(fitted, rough, symbols.ravel(), len(bounds) + 1)
    which = 2 * fitted + (rough > limits[fitted])
    counts = count_symbols(symbols.ravel(), which, 2 * len(limits))
    few = int(symbols.max()) < _FEW_SYMBOLS
    tables = tables_of_counts(counts, _SMALL_PRECISION if few else MAX_PRECISION, _PRIOR)
    return _with_bins(plain, bounds.astype(np.uint16), limits.astype(np.uint16), tables)


def _with_bins(
    plain: Neighbourhood, bounds: NDArray[np.uint16], rough: NDArray[np.uint16], tables: Tables
) -> Neighbourhood:
    return Neighbourhood(
        plain.bits,
        plain.bias,
        plain.mean,
        plain.own,
        plain.earlier,
        plain.other,
        bounds,
        rough,
        tables,
    )


def _fit_weights(planes: Planes, bits: int, earlier: int) -> Neighbourhood:
    """Return the weights with one bin and tables that stand for none."""
    channels = planes.shape[1]
    means = np.round(planes.mean(axis=(0, 2, 3)) * 256).astype(np.int32)
    bias = np.zeros(channels, np.int32)
    own = np.zeros((channels, len(OWN) + 3), np.int16)
    numbers = np.full((channels, earlier), _NONE, np.uint16)
    other = np.zeros((channels, earlier, len(OTHER)), np.int16)
    dummy = np.zeros((2, ESCAPE + 1), np.uint16)
    dummy[:, ESCAPE] = 1 << 4
    empty = np.zeros(0, np.uint16), np.zeros(1, np.uint16), Tables(dummy, 4)
    plain = Neighbourhood(bits, bias, means, own, numbers, other, *empty)
    heights = plain.heights(planes)
    size = planes[:, 0].size
    places = np.random.default_rng(0).permutation(size)[:_PLACES]
    centres = planes.transpose(1, 0, 2, 3).reshape(channels, -1)[:, places].astype(np.float32)
    centres -= centres.mean(axis=1, keepdims=True)
    norms = np.sqrt((centres**2).sum(axis=1)) + 1e-9
    for c in range(channels):
        target = planes[:, c].reshape(-1)[places].astype(np.float32)
        normal = _NormalEquations(_own_features(planes[:, c], heights[:, c])[places], target)
        chosen: list[int] = []
        for _ in range(min(earlier, c)):
            gains = np.abs(centres[:c] @ normal.residual()) / norms[:c]
            gains[chosen] = -1
            chosen.append(int(gains.argmax()))
            near = [shifted(planes[:, chosen[-1]], *place).reshape(-1)[places] for place in OTHER]
            normal.add(np.stack(near, axis=1).astype(np.float32))
        scaled = np.round(normal.weights() * (1 << WEIGHT_BITS))
        bias[c] = int(np.clip(scaled[len(OWN) + 3], -(1 << 27), 1 << 27))
        limited = np.clip(scaled, -32768, 32767).astype(np.int16)
        own[c] = limited[: len(OWN) + 3]
        numbers[c, : len(chosen)] = chosen
        other[c, : len(chosen)] = limited[len(OWN) + 4 :].reshape(-1, len(OTHER))
    return Neighbourhood(bits, bias, means, own, numbers, other, *empty)


class _NormalEquations:
    """Least squares with a little ridge, to which features are added."""

    def __init__(self, features: Matrix, target: Matrix) -> None:
        self._features = features
        self._target = target
        self._gram = (features.T @ features).astype(np.float64)
        self._moments = (features.T @ target).astype(np.float64)

    def add(self, features: Matrix) -> None:
        mixed = (self._features.T @ features).astype(np.float64)
        corner = (features.T @ features).astype(np.float64)
        self._gram = np.block([[self._gram, mixed], [mixed.T, corner]])
        self._moments = np.concatenate([self._moments, features.T @ self._target])
        self._features = np.concatenate([self._features, features], axis=1)

    def weights(self) -> Matrix:
        size = len(self._gram)
        ridge = _RIDGE * (len(self._target) + np.trace(self._gram) / size)
        found: Matrix = np.linalg.solve(self._gram + np.eye(size) * ridge, self._moments)
        return found

    def residual(self) -> Matrix:
        found: Matrix = self._target - self._features @ self.weights().astype(np.float32)
        return found


def _own_features(plane: Planes, heights: NDArray[np.int64]) -> Matrix:
    """Return the features of each place ``(N H W, 10)``: those of `own`, then the constant."""
    first_row, first_column = np.zeros_like(plane), np.zeros_like(plane)
    first_row[:, 0], first_column[:, :, 0] = 1, 1
    height = np.broadcast_to(heights[:, None, None] / 256, plane.shape)
    columns: list[NDArray[Any]] = [shifted(plane, *place) for place in OWN]
    columns += [first_row, first_column, height, np.ones_like(plane)]
    return np.stack([column.reshape(-1) for column in columns], axis=1).astype(np.float32)


def _cells(plain: Neighbourhood, planes: Planes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return cell and roughness of each symbol, flat."""
    cells = np.empty(planes.shape, np.int64)
    rough = np.empty(planes.shape, np.int64)
    heights = plain.heights(planes)
    for c in range(plain.channels):
        sums = plain.row_sums(planes, c, heights[:, c])
        for weight, place in zip(plain.own[c].tolist(), OWN, strict=False):
            sums += weight * shifted(planes[:, c], *place)
        cells[:, c] = np.clip(sums >> plain.bits, 0, CELLS - 1)
        rough[:, c] = roughness(planes[:, c])
    return cells.ravel(), rough.ravel()


def _fit_bounds(
    cells: NDArray[np.int64], symbols: NDArray[np.uint8], bins: int
) -> NDArray[np.int64]:
    """Return the first cells of all bins but the first.

    Fine bins of equal share are merged two by two, always the two that cost least as one.
    """
    shares = np.arange(1, _FINE_BINS) / _FINE_BINS
    bounds = np.unique(np.quantile(cells, shares, method="higher")).astype(np.int64)
    bounds = bounds[bounds > 0]
    counts = count_symbols(symbols, np.searchsorted(bounds, cells, side="right"), len(bounds) + 1)
    while len(counts) > bins:
        merged = counts[:-1] + counts[1:]
        least = int((_bits(merged) - _bits(counts[:-1]) - _bits(counts[1:])).argmin())
        counts[least] = merged[least]
        counts = np.delete(counts, least + 1, axis=0)
        bounds = np.delete(bounds, least)
    return bounds


def _fit_rough(
    bins: NDArray[np.int64], rough: NDArray[np.int64], symbols: NDArray[np.uint8], count: int
) -> NDArray[np.int64]:
    """Return the roughness at which each bin is best divided, of three tried."""
    found = np.zeros(count, np.int64)
    for number in range(count):
        inside = bins == number
        own, values = symbols[inside], rough[inside]
        if own.size == 0:
            continue
        tried = np.quantile(values, [0.3, 0.5, 0.75], method="lower")
        costs = [
            _bits(count_symbols(own, (values > limit).astype(np.int64), 2)).sum() for limit in tried
        ]
        found[number] = tried[int(np.argmin(costs))]
    return found


def _bits(counts: Counts) -> Matrix:
    """Return what the symbols of each row cost with a table of their own."""
    totals = counts.sum(axis=1)
    own = counts * np.log2(np.maximum(counts, 1))
    bits: Matrix = totals * np.log2(np.maximum(totals, 1)) - own.sum(axis=1)
    return bits
