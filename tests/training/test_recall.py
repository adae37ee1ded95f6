"""Thresholds of a prefilter: the promised recall is kept in as many draws as it says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from splitnet.training.certify import CLOSED
from splitnet.training.recall import RecallPromise, certify_recall

POPULATION = 40_000


def population(seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return how sure a middling prefilter is, and where nothing is of interest (60 %)."""
    rng = np.random.default_rng(seed)
    nothing = rng.random(POPULATION) < 0.6
    sure = np.where(nothing, rng.beta(3, 1.2, POPULATION), rng.beta(1.2, 4, POPULATION))
    return sure.astype(np.float32), nothing


def test_the_promise_is_kept() -> None:
    (sure, nothing), promise = population(0), RecallPromise(0.97, 0.9)
    rng, broken, skipped = np.random.default_rng(1), 0, []
    for _ in range(100):
        rows = rng.integers(0, POPULATION, 1000)
        found = certify_recall(sure[rows], nothing[rows], promise)
        passed = sure < np.float32(found.threshold)
        broken += float(passed[~nothing].mean()) < promise.recall
        skipped.append(1 - float(passed.mean()))
    assert broken <= 17  # 100 draws of one in ten: 17 or fewer in 99 of 100 cases
    assert np.median(skipped) > 0.3


def test_what_the_certificate_says_of_its_samples() -> None:
    sure, nothing = population(2)
    found = certify_recall(sure[:2000], nothing[:2000], RecallPromise(0.95))
    assert found.samples == int((~nothing[:2000]).sum())
    skipped = sure[:2000] >= np.float32(found.threshold)
    assert found.missed == int((skipped & ~nothing[:2000]).sum())
    assert found.missed / found.samples < 0.05


def test_too_few_samples_of_interest_say_how_many_are_needed() -> None:
    assert RecallPromise(0.99, 0.95).samples_needed() == 299
    nothing = np.arange(600) < 400
    with pytest.raises(ConfigError, match=r"200 calibration samples of interest .* 299 are needed"):
        certify_recall(np.zeros(600), nothing, RecallPromise())


def test_a_prefilter_that_cannot_tell_stays_closed() -> None:
    nothing = np.arange(1000) < 500
    found = certify_recall(np.ones(1000, np.float32), nothing, RecallPromise(0.95))
    assert found.threshold == CLOSED and found.missed == 0


@pytest.mark.parametrize("values", [(0.0, 0.95), (1.0, 0.95), (0.9, 1.0)])
def test_promises_are_shares(values: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="must be between 0 and 1"):
        RecallPromise(*values)
