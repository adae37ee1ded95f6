"""Certified thresholds: the promise is kept in as many calibration sets as it says."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.errors import ConfigError
from splitnet.training.certify import (
    CLOSED,
    ExitScores,
    Promise,
    certify,
    threshold_path,
)

POPULATION, CALIBRATION = 6000, 1500


def _population(seed: int, labels: int = 1) -> ExitScores:
    """Return two exits that are right as often as they are sure, and a better whole model."""
    rng = np.random.default_rng(seed)
    doubt = rng.beta(0.35, 1.2, (2, POPULATION)) * np.array([[0.9], [0.6]])
    confidence = (1 - doubt).astype(np.float32)
    early = (rng.random((labels, 2, POPULATION)) > doubt).mean(axis=0)
    late = (rng.random((labels, POPULATION)) > 0.4 * doubt.min(axis=0)).mean(axis=0)
    return ExitScores(confidence, early, late)


def _broken(scores: ExitScores, promise: Promise, splits: int = 100) -> tuple[int, float]:
    """Return how often a promise is broken on the whole population, and who leaves (median)."""
    path, broken, leaves = threshold_path([1.0, 0.4], 60), 0, []
    for seed in range(splits):
        rows = np.random.default_rng(seed).choice(POPULATION, CALIBRATION, replace=True)
        found = certify(scores.rows(rows), path, promise)
        broken += scores.lost(found.thresholds).mean() > promise.risk
        leaves.append(float((scores.leaves_at(found.thresholds) < 2).mean()))
    return broken, float(np.median(leaves))


def test_learn_then_test_keeps_its_promise() -> None:
    broken, leaves = _broken(_population(0), Promise(0.02, 0.9))
    assert broken <= 17  # 100 draws of one in ten: 17 or fewer in 99 of 100 cases
    assert leaves > 0.3


def test_a_page_of_labels_keeps_it_too() -> None:
    broken, leaves = _broken(_population(1, labels=5), Promise(0.02, 0.9), splits=40)
    assert broken <= 9 and leaves > 0.2


def test_conformal_keeps_it_on_average() -> None:
    scores, promise = _population(2), Promise(0.03, rule="conformal")
    path, lost = threshold_path([1.0, 0.4], 60), []
    for seed in range(40):
        rows = np.random.default_rng(seed).choice(POPULATION, CALIBRATION, replace=True)
        found = certify(scores.rows(rows), path, promise)
        lost.append(scores.lost(found.thresholds).mean())
    assert 0.0 < np.mean(lost) <= promise.risk


def test_a_path_gets_riskier_and_an_exit_that_saves_more_may_be_less_sure() -> None:
    path = threshold_path([2.0, 1.0], 50)
    assert path.shape == (50, 2) and (np.diff(path, axis=0) < 0).all()
    assert (path[:, 0] < path[:, 1]).all() and path[-1, 0] == 0.0


def test_who_leaves_where_and_what_that_costs() -> None:
    confidence = np.array([[0.9, 0.2, 0.2], [0.1, 0.8, 0.3]], np.float32)
    early = np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    scores = ExitScores(confidence, early, np.array([1.0, 0.0, 1.0]))
    assert scores.leaves_at([0.5, 0.5]).tolist() == [0, 1, 2]
    assert scores.lost([0.5, 0.5]).tolist() == [1.0, -1.0, 0.0]
    assert scores.lost([CLOSED, CLOSED]).tolist() == [0.0, 0.0, 0.0]


def test_an_exit_that_is_wrong_stays_closed() -> None:
    scores = ExitScores(np.ones((1, 2000), np.float32), np.zeros((1, 2000)), np.ones(2000))
    found = certify(scores, threshold_path([1.0]), Promise(0.01))
    assert found.closed and found.thresholds == (CLOSED,)


@pytest.mark.parametrize(
    ("promise", "needed"),
    [
        (Promise(0.005), 598),
        (Promise(0.01, 0.99), 540),
        (Promise(0.005, rule="conformal"), 199),
    ],
)
def test_too_few_samples_say_how_many_are_needed(promise: Promise, needed: int) -> None:
    assert promise.samples_needed() == needed

    def perfect(count: int) -> ExitScores:
        return ExitScores(np.ones((1, count), np.float32), np.ones((1, count)), np.ones(count))

    assert not certify(perfect(needed), threshold_path([1.0]), promise).closed
    with pytest.raises(ConfigError, match=f"{needed} are needed"):
        certify(perfect(needed - 1), threshold_path([1.0]), promise)


def test_senseless_promises() -> None:
    with pytest.raises(ConfigError, match="risk of the exits is 0"):
        Promise(0.0)
    with pytest.raises(ConfigError, match="confidence of the exits is 1"):
        Promise(0.1, 1.0)
    with pytest.raises(ConfigError, match="known: learn-then-test, conformal"):
        Promise(0.1, rule="guess")
