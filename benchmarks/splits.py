"""Whether certified thresholds keep their promise: random halves of the test images, many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.training.certify import ExitScores, Promise, certify

Array = NDArray[Any]

HALF = 2400
"""Test images that certify; the others tell what came of it."""

SPLITS = 100
"""Random splits."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What certified thresholds did on each of the other halves.

    Attributes
    ----------
    risk
        What they may lose.
    lost, lost_of_all
        Mean loss on the other half, and on all images, ``(R,)`` of R splits.
    costs
        Mean cost of an answer on the other half ``(R,)``, in any unit.
    """

    risk: float
    lost: Array
    lost_of_all: Array
    costs: Array

    def figures(self) -> dict[str, Any]:
        """Return what a report says of the promise."""
        return {
            "splits": len(self.lost),
            "holds": int((self.lost <= self.risk).sum()),
            "holds_on_all_images": int((self.lost_of_all <= self.risk).sum()),
            "mean_change_points": -100 * float(self.lost.mean()),
        }


def on_splits(
    scores: ExitScores, path: Array, promise: Promise, costs: Array, splits: int
) -> Outcomes:
    """Certify on random halves and look at the other half, and at all images.

    Parameters
    ----------
    costs
        Of leaving at each exit and of running to the end ``(E + 1, N)``.
    """
    lost, lost_of_all, spent = [], [], []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(scores.late))
        found = certify(scores.rows(order[:HALF]), path, promise)
        rest = scores.rows(order[HALF:])
        lost.append(rest.lost(found.thresholds).mean())
        lost_of_all.append(scores.lost(found.thresholds).mean())
        spent.append(costs[rest.leaves_at(found.thresholds), order[HALF:]].mean())
    return Outcomes(promise.risk, np.array(lost), np.array(lost_of_all), np.array(spent))
