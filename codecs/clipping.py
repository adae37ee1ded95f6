"""Ranges of a quantiser: where to clip, so that the steps lie where the values are.

Every rule gets rows of finite values and returns one range a row, inside the row's own range. A
row without negative values (behind a ReLU) keeps its minimum as the lower end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, log

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Ends = NDArray[np.float64]
Range = tuple[float, float]

DEFAULT_SHARE = 0.999
"""Share of the values that the percentile rule keeps inside."""

_BINS = 2048  # of the histogram that stands for a row in the search of the smallest error
_CANDIDATES = 96  # ends that the search tries: from 4 % of the range to all of it
_SEARCHES = 2  # rounds over upper and lower end; the second one moves them by under 1 %


def clip_range(rows: Rows, rule: str, levels: int, share: float) -> tuple[Ends, Ends]:
    """Return lower and upper end of each row ``(n,)`` of `rows` ``(K, n)`` for `levels` values."""
    if rule == "min-max" or rows.shape[1] == 0:
        return _min_max(rows)
    find = RULES[rule]
    ends = np.array([find(row, levels, share) for row in rows], np.float64)
    return ends[:, 0], ends[:, 1]


def _min_max(rows: Rows) -> tuple[Ends, Ends]:
    if rows.shape[1] == 0:
        return np.zeros(len(rows)), np.zeros(len(rows))
    return rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)


def _whole(row: Rows, levels: int, share: float) -> Range:
    return float(row.min()), float(row.max())


def _percentile(row: Rows, levels: int, share: float) -> Range:
    """Leave out ``1 - share`` of the values, half of them at each end with negative values."""
    low = float(row.min())
    outside = (1 - share) * row.size * (0.5 if low < 0 else 1)
    last = row.size - 1 - int(outside)
    first = int(outside) if low < 0 else 0
    ordered = np.partition(row, (first, last))
    return (float(ordered[first]) if low < 0 else low), float(ordered[last])


def _laplace(row: Rows, levels: int, share: float) -> Range:
    """Return the range of least expected error if the values follow Laplace's distribution.

    A tail beyond the end a costs 2 b^2 exp(-a / b), the steps inside a^2 / (3 levels^2); the sum
    is least where x exp(x) = 3 levels^2 with x = a / b. Behind a ReLU, half of the distribution is
    left and all levels serve it: 12 levels^2.

    Source: Banner, Nahshan, Soudry, Post training 4-bit quantization of convolutional networks
    for rapid-deployment, NeurIPS 2019, section 2 and its appendix on fused ReLU.
    """
    low, high = float(row.min()), float(row.max())
    if low >= 0:
        positive = row[row > 0]
        scale = float(positive.mean(dtype=np.float64)) if positive.size else 0.0
        return low, max(low, min(high, scale * _lambert(12.0 * levels**2)))
    centre = float(row.mean(dtype=np.float64))
    scale = float(np.abs(row - np.float64(centre)).mean())
    reach = scale * _lambert(3.0 * levels**2)
    return max(low, centre - reach), min(high, centre + reach)


def _least_error(row: Rows, levels: int, share: float) -> Range:
    """Return the range of the least mean squared error, found over a histogram."""
    low, high = float(row.min()), float(row.max())
    width = (high - low) / _BINS
    if not width > 0 or high - low == float("inf"):
        return low, high
    places = ((row - np.float64(low)) / width).astype(np.int64)
    counts = np.bincount(np.minimum(places, _BINS - 1), minlength=_BINS)
    centres: Ends = low + (np.arange(_BINS, dtype=np.float64) + 0.5) * width
    if low >= 0:
        centres[0] = low  # zeros behind a ReLU
    shares: Ends = np.linspace(0.04, 1, _CANDIDATES)
    lower, upper = low, high
    for _ in range(_SEARCHES):
        middle = max(lower, 0.0) if low < 0 else low
        upper = _best(counts, centres, levels, lower, middle + (high - middle) * shares, True)
        if low >= 0:
            break
        middle = min(upper, 0.0)
        lower = _best(counts, centres, levels, upper, middle + (low - middle) * shares, False)
    return lower, upper


def _best(
    counts: NDArray[np.int64],
    centres: Ends,
    levels: int,
    fixed: float,
    ends: Ends,
    upper: bool,
) -> float:
    """Return the one of `ends` that gives the smallest error against the `fixed` other end."""
    low = np.full_like(ends, fixed) if upper else ends
    high = ends if upper else np.full_like(ends, fixed)
    step = (high - low)[:, None] / max(levels - 1, 1)
    step = np.where(step > 0, step, 1)
    symbols = np.clip(np.rint((centres - low[:, None]) / step), 0, levels - 1)
    errors = low[:, None] + symbols * step - centres
    return float(ends[np.argmin((counts * errors**2).sum(axis=1))])


def _lambert(y: float) -> float:
    """Return x > 0 with ``x * exp(x) = y``, by Newton's method on ``x + log(x) = log(y)``."""
    x = max(log(1 + y) * 0.7, exp(-1))
    for _ in range(20):
        x -= (x + log(x) - log(y)) / (1 + 1 / x)
    return x


RULES: Mapping[str, Callable[[Rows, int, float], Range]] = {
    "min-max": _whole,
    "percentile": _percentile,
    "mse": _least_error,
    "aciq": _laplace,
}
"""The rules by the name that a configuration gives them."""
