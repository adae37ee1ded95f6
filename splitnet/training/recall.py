"""Thresholds of a prefilter with a promise: so much of what is of interest is let through.

*Recall* is the probability that a sample with something of interest is not skipped. On such samples
of the calibration data a miss is a coin toss, so that the test is the exact binomial one (Clopper
and Pearson, Biometrika 26, 1934), in the fixed order of `splitnet.training.certify`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from splitnet.training.certify import CLOSED, threshold_path
from splitnet.training.p_values import binomial_p_value


@dataclass(frozen=True, slots=True)
class RecallPromise:
    """At least `recall` of the samples of interest are not skipped.

    Attributes
    ----------
    recall
        In (0, 1): 0.99 lets one of a hundred be missed.
    confidence
        Probability, over calibration sets, that the chosen threshold keeps to it.
    """

    recall: float = 0.99
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("recall", "confidence"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ConfigError(
                    f"the {name} of the prefilter is {value:g}, must be between 0 and 1"
                )

    def samples_needed(self) -> int:
        """Return how many calibration samples of interest are needed if none of them is missed."""
        return math.ceil(math.log(1 - self.confidence) / math.log(self.recall))

    def check_samples(self, count: int) -> None:
        """Raise `ConfigError` if `count` samples of interest can never keep the promise."""
        needed = self.samples_needed()
        if count < needed:
            raise ConfigError(
                f"{count} calibration samples of interest cannot show a recall of {self.recall:g} "
                f"at a confidence of {self.confidence:g}: {needed} are needed even if none of them "
                "is missed; give more of them or ask for less"
            )


@dataclass(frozen=True, slots=True)
class RecallCertificate:
    """A threshold, and what it was chosen by.

    Attributes
    ----------
    threshold
        Confidence in "nothing of interest" from which a sample is skipped; `CLOSED` if nothing
        could be promised.
    samples, missed
        Calibration samples of interest, and how many of them are skipped.
    """

    threshold: float
    promise: RecallPromise
    samples: int
    missed: int


def certify_recall(
    absence: NDArray[Any], nothing: NDArray[np.bool_], promise: RecallPromise
) -> RecallCertificate:
    """Return the lowest threshold on a path that keeps a promise.

    Parameters
    ----------
    absence
        How sure the prefilter is that there is nothing of interest, ``(N,)`` in [0, 1].
    nothing
        Whether that is so.

    Raises
    ------
    ConfigError
        There are too few samples of interest; the message says how many are needed.
    """
    sure = np.asarray(absence, np.float32)[~nothing]
    promise.check_samples(len(sure))
    best = RecallCertificate(CLOSED, promise, len(sure), 0)
    for threshold in threshold_path([1.0])[:, 0].astype(np.float32):
        missed = int((sure >= threshold).sum())
        if binomial_p_value(missed, len(sure), 1 - promise.recall) > 1 - promise.confidence:
            break
        best = RecallCertificate(float(threshold), promise, len(sure), missed)
    return best
