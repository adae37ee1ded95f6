"""Thresholds by what may be lost, and with a promise."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.builder.thresholds import ThresholdWishes, promise_note, thresholds_by
from splitnet.errors import ConfigError
from splitnet.training.certify import CONFORMAL, LEARN_THEN_TEST, ExitScores, Promise

COUNT = 1000


def _scores() -> ExitScores:
    """Return one exit that is right where it is sure, half of the time."""
    sure = np.arange(COUNT) % 2 == 0
    confidence = np.where(sure, 0.9, 0.1).astype(np.float32)
    return ExitScores(confidence[None], sure.astype(float)[None], np.ones(COUNT))


def test_without_a_promise_the_loss_decides() -> None:
    wishes = ThresholdWishes(0.1)
    (threshold,), origin = thresholds_by(wishes, _scores(), [])
    assert 0.1 < threshold < 0.9 and origin == {"loss": 0.1} and wishes.limit == 0.1
    ((threshold,), _) = thresholds_by(ThresholdWishes(0.5), _scores(), [])
    assert threshold < 0.1


@pytest.mark.parametrize("rule", [LEARN_THEN_TEST, CONFORMAL])
def test_a_promise_tells_what_it_was_certified_by(rule: str) -> None:
    wishes = ThresholdWishes(promise=Promise(0.02, 0.9, rule))
    (threshold,), origin = thresholds_by(wishes, _scores(), [1.0])
    assert 0.1 < threshold < 0.9 and wishes.limit == 0.02
    told = {"rule": rule, "risk": 0.02, "confidence": 0.9, "samples": COUNT, "lost": 0.0}
    assert origin == told


def test_only_a_promise_needs_samples() -> None:
    ThresholdWishes().check_samples(1)
    with pytest.raises(ConfigError, match=r"1 calibration samples .* a risk of 0\.02"):
        ThresholdWishes(promise=Promise(0.02)).check_samples(1)


def test_the_note_names_both_sides() -> None:
    note = promise_note("the stops of c1@2", "all parts", Promise(0.02, rule=CONFORMAL), 400)
    assert note == (
        "the stops of c1@2 lose at most 0.02 of the score against all parts, on average over "
        "calibration sets (conformal, 400 calibration samples)"
    )
