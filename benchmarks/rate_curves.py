"""Bytes against accuracy: paired intervals, bytes at a loss, and Bjontegaard's mean of a curve.

Every point knows what it answered on each sample, so that all comparisons are of the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from paired import paired_change
from scipy.interpolate import PchipInterpolator

Right = NDArray[np.bool_]
Bytes = NDArray[np.int64]
Rows = NDArray[np.int64]

RESAMPLINGS = 200
"""Draws of the bootstrap (Efron 1979)."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One setting of one way to send, on all samples.

    Attributes
    ----------
    right
        bool ``(S,)``, whether the answer was right.
    nbytes
        int64 ``(S,)``, payload of each sample.
    """

    name: str
    right: Right
    nbytes: Bytes


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The settings of one way to send."""

    name: str
    points: tuple[Point, ...]

    def at(self, rows: Rows) -> Curve:
        """Return the curve on some of the samples."""
        return Curve(
            self.name, tuple(Point(p.name, p.right[rows], p.nbytes[rows]) for p in self.points)
        )


class Rate(NamedTuple):
    """Bytes of a curve by those of another one at the same accuracy, minus 1.

    Attributes
    ----------
    change
        -0.5 for half the bytes; NaN if the curves have no range in common.
    low, high
        Bounds of the change with 95 % confidence.
    worst, best
        The range of accuracies, as points of change, in which the curves were compared.
    reason
        Why there is no figure, or empty.
    """

    change: float
    low: float = nan
    high: float = nan
    worst: float = nan
    best: float = nan
    reason: str = ""


def front(nbytes: Sequence[float], accuracy: Sequence[float]) -> list[tuple[float, float]]:
    """Return the settings that no other one beats, as (bytes, accuracy), both rising."""
    found: list[tuple[float, float]] = []
    for point in sorted(zip(nbytes, accuracy, strict=True), key=lambda p: (p[0], -p[1])):
        if not found or point[1] > found[-1][1]:
            found.append(point)
    return found


def bytes_at(found: Sequence[tuple[float, float]], accuracy: float) -> float:
    """Return the bytes at which a front reaches `accuracy`, NaN outside of its range.

    Between two settings the logarithm of the bytes is linear in the accuracy.
    """
    if not found or not found[0][1] <= accuracy <= found[-1][1]:
        return nan
    logs = np.log([nbytes for nbytes, _ in found])
    return float(np.exp(np.interp(accuracy, [point[1] for point in found], logs)))


def bd_rate(own: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> Rate:
    """Return Bjontegaard's mean change of the bytes of one front against another one.

    Source: Bjontegaard, ITU-T SG16 Q.6, VCEG-M33 (2001), with the monotone piecewise cubic that
    JCT-VC uses instead of one polynomial (JCTVC-L1100), accuracy in the place of PSNR.
    """
    for which, points in (("the curve", own), ("the other one", other)):
        if len(points) < 2:
            return Rate(nan, reason=f"{which} has {len(points)} settings that count, 2 are needed")
    worst, best = max(own[0][1], other[0][1]), min(own[-1][1], other[-1][1])
    if worst >= best:
        ranges = " and ".join(
            f"{points[0][1]:.2f} to {points[-1][1]:.2f}" for points in (own, other)
        )
        return Rate(nan, reason=f"no range in common: {ranges}")
    areas = [_log_bytes(points).integrate(worst, best) for points in (own, other)]
    change = exp(float(areas[0] - areas[1]) / (best - worst)) - 1
    return Rate(change, worst=worst, best=best)


def compare(own: Curve, other: Curve, whole: Right, seed: int = 0) -> Rate:
    """Return `bd_rate` of two curves with its 95 % interval by the bootstrap over samples."""
    found = bd_rate(own_front(own, whole), own_front(other, whole))
    if found.reason:
        return found
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLINGS):
        rows = rng.integers(0, len(whole), len(whole))
        fronts = [own_front(curve.at(rows), whole[rows]) for curve in (own, other)]
        drawn.append(bd_rate(*fronts).change)
    kept = [change for change in drawn if not np.isnan(change)]
    low, high = np.percentile(kept, [2.5, 97.5]) if kept else (nan, nan)
    return found._replace(low=float(low), high=float(high))


def own_front(curve: Curve, whole: Right) -> list[tuple[float, float]]:
    """Return the front of a curve as (mean bytes, points of change against the whole model)."""
    accuracy = 100 * float(whole.mean())
    return front(
        [float(point.nbytes.mean()) for point in curve.points],
        [100 * float(point.right.mean()) - accuracy for point in curve.points],
    )


def rows_of(curve: Curve, whole: Right) -> list[dict[str, Any]]:
    """Return a row of the table for each setting, fewest bytes first."""
    rows = []
    for point in sorted(curve.points, key=lambda point: float(point.nbytes.mean())):
        change = paired_change(point.right, whole)
        rows.append(
            {
                "curve": curve.name,
                "setting": point.name,
                "bytes": round(float(point.nbytes.mean()), 1),
                "accuracy": round(100 * float(point.right.mean()), 3),
                "change_points": round(change.points, 3),
                "interval_points": round(change.interval, 3),
            }
        )
    return rows


def _log_bytes(points: Sequence[tuple[float, float]]) -> Any:
    accuracy = [point[1] for point in points]
    return PchipInterpolator(accuracy, [log(point[0]) for point in points])
