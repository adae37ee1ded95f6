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
_AT_ONCE = 4  # earlier channels that are added before the weights are fitted again
_FINE_BINS = 160  # from which neighbours are merged
_PRIOR = 0.1
_NONE = 0xFFFF
_SMALL_PRECISION = 12
_FEW_SYMBOLS = 64  # up to so many, tables of 2**12 slots are enough, and fit the cache together

Matrix = NDArray[np.floating[Any]]
Planes = NDArray[np.int64]


def fit_neighbourhood(
    symbols: NDArray[np.uint8], *, earlier: int = 32, bins: int = 24, given: int = 0
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
    given
        How many first channels are known to the decoder, and not coded.

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
    plain = _fit_weights(planes, bits, earlier, given)
    cells, rough = _cells(plain, planes, given)
    coded = symbols[:, given:].ravel()
    bounds = _fit_bounds(cells, coded, bins)
    fitted = np.searchsorted(bounds, cells, side="right")
    limits = _fit_rough(fitted, rough, coded, len(bounds) + 1)
    which = 2 * fitted + (rough > limits[fitted])
    counts = count_symbols(coded, which, 2 * len(limits))
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


def _fit_weights(planes: Planes, bits: int, earlier: int, given: int) -> Neighbourhood:
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
    for c in range(given, channels):
        target = planes[:, c].reshape(-1)[places].astype(np.float32)
        features = _own_features(planes[:, c], heights[:, c])[places]
        most = len(OWN) + 4 + len(OTHER) * min(earlier, c)
        normal = _NormalEquations(features, target, most)
        chosen: list[int] = []
        while len(chosen) < min(earlier, c):
            gains = np.abs(centres[:c] @ normal.residual()) / norms[:c]
            gains[chosen] = -1
            for number in np.argsort(-gains, kind="stable")[: min(_AT_ONCE, earlier - len(chosen))]:
                if gains[number] < 0:
                    break
                chosen.append(int(number))
                near = [shifted(planes[:, number], *place).reshape(-1)[places] for place in OTHER]
                normal.add(np.stack(near, axis=1).astype(np.float32))
        scaled = np.round(normal.weights() * (1 << WEIGHT_BITS))
        bias[c] = int(np.clip(scaled[len(OWN) + 3], -(1 << 27), 1 << 27))
        limited = np.clip(scaled, -32768, 32767).astype(np.int16)
        own[c] = limited[: len(OWN) + 3]
        numbers[c, : len(chosen)] = chosen
        other[c, : len(chosen)] = limited[len(OWN) + 4 :].reshape(-1, len(OTHER))
    return Neighbourhood(bits, bias, means, own, numbers, other, *empty)


class _NormalEquations:
    """Least squares with a little ridge, to which up to `most` features are added."""

    def __init__(self, features: Matrix, target: Matrix, most: int) -> None:
        self._target = target
        self._rows = np.empty((most, len(target)), np.float32)
        self._gram = np.zeros((most, most))
        self._moments = np.zeros(most)
        self._size = 0
        self.add(features)

    def add(self, features: Matrix) -> None:
        first, self._size = self._size, self._size + features.shape[1]
        self._rows[first : self._size] = features.T
        mixed = self._rows[: self._size] @ features
        self._gram[: self._size, first : self._size] = mixed
        self._gram[first : self._size, : self._size] = mixed.T
        self._moments[first : self._size] = features.T @ self._target

    def weights(self) -> Matrix:
        gram = self._gram[: self._size, : self._size]
        ridge = _RIDGE * (len(self._target) + np.trace(gram) / self._size)
        found: Matrix = np.linalg.solve(
            gram + np.eye(self._size) * ridge, self._moments[: self._size]
        )
        return found

    def residual(self) -> Matrix:
        fitted = self.weights().astype(np.float32) @ self._rows[: self._size]
        found: Matrix = self._target - fitted
        return found


def _own_features(plane: Planes, heights: NDArray[np.int64]) -> Matrix:
    """Return the features of each place ``(N H W, 10)``: those of `own`, then the constant."""
    first_row, first_column = np.zeros_like(plane), np.zeros_like(plane)
    first_row[:, 0], first_column[:, :, 0] = 1, 1
    height = np.broadcast_to(heights[:, None, None] / 256, plane.shape)
    columns: list[NDArray[Any]] = [shifted(plane, *place) for place in OWN]
    columns += [first_row, first_column, height, np.ones_like(plane)]
    return np.stack([column.reshape(-1) for column in columns], axis=1).astype(np.float32)


def _cells(
    plain: Neighbourhood, planes: Planes, given: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return cell and roughness of each symbol behind the first `given` channels, flat."""
    cells = np.empty(planes.shape, np.int64)
    rough = np.empty(planes.shape, np.int64)
    heights = plain.heights(planes)
    for c in range(given, plain.channels):
        sums = plain.row_sums(planes, c, heights[:, c])
        for weight, place in zip(plain.own[c].tolist(), OWN, strict=False):
            sums += weight * shifted(planes[:, c], *place)
        cells[:, c] = np.clip(sums >> plain.bits, 0, CELLS - 1)
        rough[:, c] = roughness(planes[:, c])
    return cells[:, given:].ravel(), rough[:, given:].ravel()


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
