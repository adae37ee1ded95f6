"""Thresholds with a promise: at most so much of the score is lost, with such a confidence.

The *risk* of a rule is the expected score of the whole model less that of the rule; on a sample the
difference lies in [-1, 1]. A sample that only the early answer gets right pays for one that only
the whole model gets right, so the difference is tested as it is and not cut off at 0.

Source: Angelopoulos et al., "Learn then Test", arXiv 2110.01052 (fixed-sequence testing, sections
2 and 4); Angelopoulos et al., "Conformal Risk Control", arXiv 2208.02814 (theorem 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from splitnet.training.p_values import MAX_PAIRS_COUNT, pairs_p_value, risk_p_value

Array: TypeAlias = NDArray[np.float64]

LEARN_THEN_TEST, CONFORMAL = "learn-then-test", "conformal"
"""The rules by which thresholds are chosen."""

CLOSED = 1.0 + 1e-3
"""Threshold that no confidence reaches."""

PATH_STEPS = 200
"""Steps of a path through threshold space; more give finer thresholds, not a weaker test."""

_SUREST = 1e-6
"""Smallest doubt (1 - threshold) on a path: float32 tells confidences apart down to 6e-8."""


@dataclass(frozen=True, slots=True)
class Promise:
    """At most `risk` of the score is lost against the whole model.

    Attributes
    ----------
    risk
        In (0, 1): 0.005 is half a point of accuracy.
    confidence
        Probability, over calibration sets, that thresholds chosen by learn-then-test keep to it.
        Conformal thresholds keep to it on average over calibration sets instead.
    rule
        How the thresholds are chosen.
    """

    risk: float
    confidence: float = 0.95
    rule: str = LEARN_THEN_TEST

    def __post_init__(self) -> None:
        for name in ("risk", "confidence"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ConfigError(f"the {name} of the exits is {value:g}, must be between 0 and 1")
        if self.rule not in (LEARN_THEN_TEST, CONFORMAL):
            raise ConfigError(f"unknown rule {self.rule!r}; known: {LEARN_THEN_TEST}, {CONFORMAL}")

    def samples_needed(self) -> int:
        """Return how many calibration samples are needed if none of them loses anything."""
        if self.rule == CONFORMAL:
            return math.ceil((1 - self.risk) / self.risk)
        level = 1 - self.confidence
        count = math.ceil(math.log(level) / math.log1p(-self.risk))
        while count <= MAX_PAIRS_COUNT and pairs_p_value(0, 0, count, self.risk) > level:
            count += math.ceil(count / 100)
        return count

    def check_samples(self, count: int) -> None:
        """Raise `ConfigError` if `count` calibration samples can never keep the promise."""
        needed = self.samples_needed()
        if count < needed:
            raise ConfigError(
                f"{count} calibration samples cannot show a risk of {self.risk:g} at a confidence "
                f"of {self.confidence:g}: {needed} are needed even if they lose nothing; give "
                "more of them or allow more"
            )


@dataclass(frozen=True, slots=True)
class ExitScores:
    """What exits and the whole model did on some samples.

    Attributes
    ----------
    confidence
        ``(E, N)`` float32, the exits in the order in which a request meets them.
    early
        ``(E, N)``: score of each exit in [0, 1].
    late
        ``(N,)``: score of the whole model.
    """

    confidence: NDArray[np.float32]
    early: Array
    late: Array

    def leaves_at(self, thresholds: Sequence[float]) -> NDArray[np.intp]:
        """Return the exit at which each sample leaves, ``E`` for the end of the network."""
        passed = self.confidence >= np.asarray(thresholds, np.float32)[:, np.newaxis]
        ends = np.ones((1, passed.shape[1]), bool)
        first: NDArray[np.intp] = np.concatenate([passed, ends]).argmax(axis=0)
        return first

    def lost(self, thresholds: Sequence[float]) -> Array:
        """Return what each sample loses by answering early, ``(N,)`` in [-1, 1]."""
        scores = np.concatenate([self.early, self.late[np.newaxis]])
        mixed = scores[self.leaves_at(thresholds), np.arange(len(self.late))]
        difference: Array = self.late - mixed
        return difference

    def rows(self, rows: NDArray[np.intp]) -> ExitScores:
        """Return the same of some samples."""
        return ExitScores(self.confidence[:, rows], self.early[:, rows], self.late[rows])


@dataclass(frozen=True, slots=True)
class Certificate:
    """Thresholds, and what they were chosen by.

    Attributes
    ----------
    thresholds
        One an exit, in their order; `CLOSED` if nothing could be promised.
    promise
        What they keep to.
    samples
        Calibration samples.
    lost, p_value
        Mean loss on them, and the probability of a mean as small if the promise were broken.
    """

    thresholds: tuple[float, ...]
    promise: Promise
    samples: int
    lost: float
    p_value: float

    @property
    def closed(self) -> bool:
        """Whether no threshold was good enough, so that nothing leaves early."""
        return all(threshold >= CLOSED for threshold in self.thresholds)


def threshold_path(weights: Sequence[float], steps: int = PATH_STEPS) -> Array:
    """Return a path through the thresholds of some exits, ``(steps, E)``, the safest first.

    The doubt (1 - threshold) of each exit grows geometrically and in proportion to its weight, so
    that an exit that saves more may be less sure. A path must not depend on calibration data, or
    the promise is void.

    Parameters
    ----------
    weights
        What leaving at each exit saves, in any unit, above 0.
    """
    shares = np.asarray(weights, np.float64) / max(weights)
    doubts = np.geomspace(_SUREST, 1.0, steps)[:, np.newaxis] * shares
    return np.clip(1.0 - doubts, 0.0, 1.0)


def certify(scores: ExitScores, path: Array, promise: Promise) -> Certificate:
    """Return the last thresholds on a path that keep a promise.

    Learn-then-test rejects "the risk is above the promised one" at one step of the path after the
    other, each at level ``1 - confidence``, and stops at the first that it cannot reject: the
    probability of any wrong rejection is then at most that level, however long the path is
    (Learn then Test, proposition 3). Conformal risk control bounds the mean of a loss that only
    grows along the path, so it counts what is lost and not what is won, and at each step the most
    that was lost up to there.

    Raises
    ------
    ConfigError
        There are too few samples to promise anything; the message says how many are needed.
    """
    count = len(scores.late)
    promise.check_samples(count)
    best = Certificate((CLOSED,) * path.shape[1], promise, count, 0.0, 0.0)
    worst = np.zeros(count)
    # Betting sees one sample after the other; data in folders is sorted by class.
    shuffled = scores.rows(np.random.default_rng(0).permutation(count))
    for step in path:
        thresholds = tuple(float(np.float32(value)) for value in step)
        lost = shuffled.lost(thresholds)
        if promise.rule == CONFORMAL:
            worst = np.maximum(worst, lost)
            kept, p_value = (float(worst.sum()) + 1) / (count + 1) <= promise.risk, 0.0
        else:
            p_value = risk_p_value(lost, promise.risk)
            kept = p_value <= 1 - promise.confidence
        if not kept:
            break
        best = Certificate(thresholds, promise, count, float(lost.mean()), p_value)
    return best
