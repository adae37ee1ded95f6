"""Whether live images are still like those that the exits were calibrated on.

Thresholds keep their promise as long as live samples come from where the calibration data came
from. Labels of live samples are unknown, their confidences are not: a block of them is compared
with the confidences in the sample table, and if the two differ by more than chance explains, the
agent says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle import Bundle
from splitnet.machines.agent_io import LocalResult

BLOCK = 500
"""Confidences that are compared at once: fewer tell sooner, more tell smaller changes. Against
2,400 rows, 500 find a distance of 0.14 and 2,000 one of 0.09."""

TABLE_LEVEL, BLOCK_LEVEL = 1e-3, 1e-4
"""Probability that the table itself is misleading, and that a block is, without any drift: one
false alarm in 10,000 blocks or more, 5 million samples."""

MIN_ROWS = 100
"""With fewer rows of the table nothing is compared."""

Way: TypeAlias = tuple[tuple[str, bool], ...]
"""Exits that a sample passed before, and whether it was sure enough there."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A block of live confidences that the sample table does not explain.

    Attributes
    ----------
    distance, limit
        Largest difference between the distribution functions, and what chance explains.
    live, table
        Mean confidences.
    """

    exit: str
    distance: float
    limit: float
    live: float
    table: float

    def __str__(self) -> str:
        return (
            f"exit={self.exit} distance={self.distance:.3f} limit={self.limit:.3f} "
            f"live_confidence={self.live:.3f} table_confidence={self.table:.3f}"
        )


class DriftMonitor:
    """Compares live confidences of each exit with those of the sample table.

    The distance of Kolmogorov and Smirnov is held against the bound of Dvoretzky, Kiefer and
    Wolfowitz, which holds for any distribution and any number of samples (Massart, "The tight
    constant in the DKW inequality", Annals of Probability 18, 1990), once for the table and once
    for the block. It supposes independent samples; neighbouring frames of a video are not, and
    look like drift when a scene is long. Samples that went on at earlier exits are compared with
    rows that would have gone on there too.
    """

    def __init__(self, bundle: Bundle, block: int = BLOCK) -> None:
        self._thresholds = {head.id: head.threshold for head in bundle.advice.heads}
        self._table = bundle.table
        self._block = block
        self._references: dict[tuple[str, Way], NDArray[np.float32]] = {}
        self._live: dict[tuple[str, Way], list[float]] = {}

    def add(
        self, exit_id: str, confidence: float, before: Mapping[str | None, LocalResult]
    ) -> Drift | None:
        """Take a live confidence; return what is wrong if it completes a block that drifted.

        Parameters
        ----------
        before
            What earlier exits said of the same sample.
        """
        way = tuple(
            (other, before[other].confidence >= threshold)
            for other, threshold in self._thresholds.items()
            if other in before and other != exit_id
        )
        live = self._live.setdefault((exit_id, way), [])
        live.append(confidence)
        if len(live) < self._block:
            return None
        self._live[exit_id, way] = []
        reference = self._reference(exit_id, way)
        return None if len(reference) < MIN_ROWS else _compare(exit_id, live, reference)

    def _reference(self, exit_id: str, way: Way) -> NDArray[np.float32]:
        """Return the sorted confidences of the rows that went the same way."""
        if (exit_id, way) not in self._references:
            rows = np.ones(len(self._table), np.bool_)
            for other, passed in way:
                rows &= self._table.exit_passed(other, self._thresholds[other]) == passed
            self._references[exit_id, way] = np.sort(self._table.exits[exit_id].confidence[rows])
        return self._references[exit_id, way]


def _compare(exit_id: str, live: list[float], reference: NDArray[np.float32]) -> Drift | None:
    block = np.sort(np.asarray(live, np.float32))
    points = np.concatenate([block, reference])
    below = [
        np.searchsorted(values, points, side="right") / len(values) for values in (block, reference)
    ]
    distance = float(np.abs(below[0] - below[1]).max())
    limit = _bound(TABLE_LEVEL, len(reference)) + _bound(BLOCK_LEVEL, len(block))
    if distance <= limit:
        return None
    return Drift(exit_id, distance, limit, float(block.mean()), float(reference.mean()))


def _bound(level: float, count: int) -> float:
    """Return the distance from the truth that `count` samples exceed with probability `level`."""
    return math.sqrt(math.log(2 / level) / (2 * count))
