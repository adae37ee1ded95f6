"""Differences on the same samples, with their intervals."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NORMAL_95 = 1.96
"""Quantile of the normal distribution for an interval of 95 %."""


class Change(NamedTuple):
    """A mean of paired differences and half of its 95 % interval, in points."""

    points: float
    interval: float


def paired_change(score: NDArray[Any], reference: NDArray[Any]) -> Change:
    """Return how `score` differs from `reference` on the same samples, ``(S,)`` in [0, 1] each."""
    differences = score.astype(np.float64) - reference
    spread = differences.std(ddof=1) if len(differences) > 1 else inf
    interval = NORMAL_95 * spread / np.sqrt(len(differences))
    return Change(100 * float(differences.mean()), 100 * float(interval))
