"""The thresholds of exits and of stops: by what they may lose, or with a promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from splitnet.training.certify import (
    LEARN_THEN_TEST,
    ExitScores,
    Promise,
    certify,
    threshold_path,
)
from splitnet.training.exits import choose_thresholds


@dataclass(frozen=True, slots=True)
class ThresholdWishes:
    """What thresholds are chosen by.

    Attributes
    ----------
    loss
        Part of the score on calibration data that they may lose, where there is no promise.
    promise
        What they must keep to.
    """

    loss: float = 0.005
    promise: Promise | None = None

    @property
    def limit(self) -> float:
        """The part of the score that may be lost."""
        return self.loss if self.promise is None else self.promise.risk

    def check_samples(self, count: int) -> None:
        """Raise `ConfigError` if `count` calibration samples can never keep the promise."""
        if self.promise is not None:
            self.promise.check_samples(count)


def thresholds_by(
    wishes: ThresholdWishes, scores: ExitScores, saved: Sequence[float]
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Return thresholds, and how they were chosen, for the advice.

    Parameters
    ----------
    saved
        What leaving at each exit saves, in any unit, above 0; only a promise asks for it. It must
        not be measured on calibration data (see `threshold_path`).

    Raises
    ------
    ConfigError
        There are too few samples for the promise.
    """
    if wishes.promise is None:
        return choose_thresholds(scores, wishes.loss), {"loss": wishes.loss}
    found = certify(scores, threshold_path(saved), wishes.promise)
    origin = {
        "rule": found.promise.rule,
        "risk": found.promise.risk,
        "confidence": found.promise.confidence,
        "samples": found.samples,
        "lost": found.lost,
    }
    return found.thresholds, origin


def promise_note(who: str, whole: str, promise: Promise, count: int) -> str:
    """Return what is promised of `who` against `whole`, certified on `count` samples."""
    sure = (
        f"with a confidence of {promise.confidence:g}"
        if promise.rule == LEARN_THEN_TEST
        else "on average over calibration sets"
    )
    return (
        f"{who} lose at most {promise.risk:g} of the score against {whole}, {sure} "
        f"({promise.rule}, {count} calibration samples)"
    )
