"""Bytes against accuracy where the next part is only sent if the answer is not sure enough.

The dial is one threshold for all stops: nothing is chosen by the samples that are judged. Chosen
on one half of them, thresholds of their own for each stop are no better on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rate_curves import Bytes, Curve, Point, Right

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)

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


def stops_curve(name: str, stages: Sequence[Stage]) -> Curve:
    """Return what stages one after the other do, a point for each of `THRESHOLDS`."""
    rows = np.arange(len(stages[0].right))
    points = []
    for threshold in THRESHOLDS:
        stage, goes_on = np.zeros(len(rows), np.intp), np.ones(len(rows), np.bool_)
        for each in stages[:-1]:
            goes_on &= each.confidence < np.float32(threshold)
            stage += goes_on
        right = np.stack([each.right for each in stages])[stage, rows]
        nbytes = np.stack([each.nbytes for each in stages])[stage, rows]
        points.append(Point(f"stops at {threshold:g}", right, nbytes))
    return Curve(name, tuple(points))
