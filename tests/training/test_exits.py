"""Early exits: calibration, thresholds, a training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from splitnet.console import Silent
from splitnet.runtime.answers import labels, max_softmax
from splitnet.training.certify import CLOSED, ExitScores
from splitnet.training.exits import (
    choose_threshold,
    choose_thresholds,
    exit_logits,
    fit_temperature,
    train_exit,
)
from splitnet.training.heads import make_head
from splitnet.training.loop import Schedule


def test_temperature_undoes_a_scale() -> None:
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([0.5] * 4, 4000)
    truth = np.array([rng.choice(4, p=p) for p in probability])[:, None]
    logits = np.log(probability + 1e-12).astype(np.float32)
    assert fit_temperature(logits, truth) == pytest.approx(1.0, rel=0.1)
    assert fit_temperature(3 * logits, truth) == pytest.approx(3.0, rel=0.1)
    pages = logits.reshape(-1, 4, 4)
    assert fit_temperature(pages, truth.reshape(-1, 4)) == fit_temperature(logits, truth)


def test_the_smallest_good_threshold() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    early = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    late = np.ones(5)
    for allowed, leave in [(0.0, 2), (0.2, 4), (0.4, 5)]:
        threshold = choose_threshold(confidence, early, late, allowed)
        assert (confidence >= threshold).sum() == leave


def test_equal_confidences_leave_together() -> None:
    threshold = choose_threshold(np.full(4, 0.5), np.array([1.0, 1, 1, 0]), np.ones(4), 0.1)
    assert threshold == CLOSED


_UNIT = st.floats(0, 1, width=32)


@given(arrays.arrays(np.float64, (20, 3), elements=_UNIT), st.floats(0, 0.3))
def test_a_threshold_keeps_its_promise(rows: np.ndarray, allowed: float) -> None:
    confidence, early, late = rows.T
    threshold = choose_threshold(confidence, early, late, allowed)
    leaves = confidence.astype(np.float32) >= np.float32(threshold)
    assert np.where(leaves, early, late).mean() >= late.mean() - allowed - 1e-9


@given(arrays.arrays(np.float32, (20, 5), elements=_UNIT), st.floats(0, 0.3))
def test_several_thresholds_keep_it_together(rows: np.ndarray, allowed: float) -> None:
    scores = ExitScores(rows.T[:2], rows.T[2:4].astype(float), rows.T[4].astype(float))
    thresholds = choose_thresholds(scores, allowed)
    assert scores.lost(thresholds).mean() <= allowed + 1e-9


def test_an_exit_learns_from_its_rows() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (600, 1))
    features = rng.normal(0, 0.7, (600, 4)).astype(np.float32)
    features[np.arange(600), truth[:, 0]] += 2.0
    rows = np.arange(400)
    features[0], truth[400:500] = np.nan, 0  # neither is among the rows
    head = make_head((4,), (3,), 1e6)
    held = (features[500:], truth[500:])
    train_exit(head, (features, truth), rows[1:], held, Schedule(epochs=20), Silent())
    logits = exit_logits(head, features[500:])
    assert (labels(logits) == truth[500:]).mean() > 0.9
    assert max_softmax(logits, fit_temperature(logits, truth[500:])).mean() > 0.8
