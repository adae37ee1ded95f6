"""Bytes against accuracy where the next part is only sent if the answer is not sure enough.

Thresholds are chosen on one half of the samples and judged on the other, both ways, so that no
sample is judged by thresholds that have seen it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from rate_curves import Bytes, Curve, Point, Right, Rows

LOSSES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Points that stopping may cost against all stages, on the half that chooses."""

NEVER = 2.0
THRESHOLDS = (
    *(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995),
    *(0.998, 0.999, 0.9995, NEVER),
)

Confidence = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What is answered when so much has been sent.

    Attributes
    ----------
    right, confidence
        ``(S,)``, of the answer.
    nbytes
        int64 ``(S,)``, all that has been sent by then.
    """

    right: Right
    confidence: Confidence
    nbytes: Bytes


def stops_curve(name: str, stages: Sequence[Stage], seed: int = 0) -> Curve:
    """Return what stages one after the other do, a point for each of `LOSSES`."""
    count = len(stages[0].right)
    order = np.random.default_rng(seed).permutation(count)
    halves = order[: count // 2], order[count // 2 :]
    rules = list(_rules(len(stages) - 1))
    tried = [[_outcome(stages, rule, rows) for rule in rules] for rows in halves]
    points = []
    for loss in LOSSES:
        right, nbytes = np.zeros(count, np.bool_), np.zeros(count, np.int64)
        for own, rest in ((0, 1), (1, 0)):
            rule = rules[_best(tried[own], float(stages[-1].right[halves[own]].mean()), loss)]
            stage = _stage_of_row(stages, rule, halves[rest])
            right[halves[rest]] = _taken([s.right for s in stages], stage, halves[rest])
            nbytes[halves[rest]] = _taken([s.nbytes for s in stages], stage, halves[rest])
        points.append(Point(f"stops, {loss:g} points", right, nbytes))
    return Curve(name, tuple(points))


def _rules(count: int) -> Iterator[tuple[float, ...]]:
    """Yield thresholds of `count` stops: a later answer need not be surer than an earlier one."""
    for rule in product(THRESHOLDS, repeat=count):
        if list(rule) == sorted(rule, reverse=True):
            yield rule


def _best(tried: Sequence[tuple[float, float]], whole: float, loss: float) -> int:
    """Return which rule takes the fewest bytes of those that lose little enough."""
    allowed = [nbytes if 100 * (whole - right) <= loss else np.inf for right, nbytes in tried]
    return int(np.argmin(allowed))


def _outcome(stages: Sequence[Stage], rule: Sequence[float], rows: Rows) -> tuple[float, float]:
    """Return the share that is right and the mean bytes."""
    stage = _stage_of_row(stages, rule, rows)
    right, nbytes = (
        _taken(columns, stage, rows)
        for columns in ([s.right for s in stages], [s.nbytes for s in stages])
    )
    return float(right.mean()), float(nbytes.mean())


def _stage_of_row(stages: Sequence[Stage], rule: Sequence[float], rows: Rows) -> Rows:
    """Return at which stage each sample stops."""
    found = np.zeros(len(rows), np.int64)
    goes_on = np.ones(len(rows), np.bool_)
    for stage, threshold in zip(stages, rule, strict=False):
        goes_on &= stage.confidence[rows] < np.float32(threshold)
        found += goes_on
    return found


def _taken(columns: Sequence[NDArray[np.generic]], stage: Rows, rows: Rows) -> NDArray[np.generic]:
    return np.choose(stage, [column[rows] for column in columns])
