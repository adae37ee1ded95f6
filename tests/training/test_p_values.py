"""p-values: valid where the hypothesis just holds, sharp where it does not, exact against scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from splitnet.training.p_values import (
    MAX_PAIRS_COUNT,
    betting_p_value,
    binomial_p_value,
    hoeffding_bentkus_p_value,
    pairs_p_value,
    risk_p_value,
)

COUNT, RISK, LEVEL = 600, 0.02, 0.05
DRAWS = 800

# 800 draws of a probability of 0.05 exceed this with a probability of one in a thousand.
MOST_OFTEN = stats.binom.ppf(0.999, DRAWS, LEVEL) / DRAWS


def _pairs(seed: int, wins: float, risk: float) -> np.ndarray:
    """Return (DRAWS, 2) numbers of losses and wins of samples that lose `risk` on average."""
    shares = [wins + risk, wins, 1 - 2 * wins - risk]
    return np.random.default_rng(seed).multinomial(COUNT, shares, DRAWS)[:, :2]


def _losses(rng: np.random.Generator, losses: int, wins: int) -> np.ndarray:
    signs = [np.ones(losses), -np.ones(wins), np.zeros(COUNT - losses - wins)]
    return rng.permutation(np.concatenate(signs))


@pytest.mark.parametrize("wins", [0.0, 0.002, 0.01, 0.03, 0.1])
def test_pairs_are_valid_for_any_share_of_wins(wins: float) -> None:
    found = [pairs_p_value(int(a), int(b), COUNT, RISK) for a, b in _pairs(0, wins, RISK)]
    assert np.mean(np.array(found) <= LEVEL) <= MOST_OFTEN


def test_pairs_agree_with_the_normal_test_for_many_samples() -> None:
    losses, wins, count, risk = 130, 110, 8000, 0.005
    distance = (losses - wins - count * risk) / np.sqrt(losses + wins)
    assert pairs_p_value(losses, wins, count, risk) == pytest.approx(
        stats.norm.cdf(distance), abs=0.02
    )


def test_pairs_are_never_below_a_test_that_knows_that_nothing_wins() -> None:
    for losses in (0, 3):
        exact = stats.binom.cdf(losses, COUNT, RISK)
        assert exact <= pairs_p_value(losses, 0, COUNT, RISK) <= exact + 5e-3


def test_more_losses_and_fewer_wins_are_never_less_likely() -> None:
    table = np.array([[pairs_p_value(a, b, COUNT, RISK) for b in range(30)] for a in range(30)])
    assert (np.diff(table, axis=0) >= -1e-12).all()
    assert pairs_p_value(COUNT, 0, COUNT, RISK) == 1.0


def test_betting_is_valid_and_gains() -> None:
    rng = np.random.default_rng(1)
    null, better = (
        [betting_p_value(_losses(rng, int(a), int(b)), RISK) for a, b in _pairs(1, 0.01, lost)]
        for lost in (RISK, 0.0)
    )
    assert np.mean(np.array(null) <= LEVEL) <= LEVEL
    assert np.mean(np.array(better) <= LEVEL) > 0.2


def test_pages_are_tested_by_betting() -> None:
    shares = np.random.default_rng(2).integers(-1, 2, COUNT) / 64
    assert risk_p_value(shares, RISK) == betting_p_value(shares, RISK) < LEVEL
    assert risk_p_value(np.zeros(COUNT), RISK) == pairs_p_value(0, 0, COUNT, RISK)
    many = np.zeros(MAX_PAIRS_COUNT + 1)
    assert risk_p_value(many, RISK) == betting_p_value(many, RISK)


def test_binomial() -> None:
    for failures in (0, 5, 40, 100):
        exact = stats.binom.cdf(failures, 100, 0.3)
        assert binomial_p_value(failures, 100, 0.3) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    "draw", [lambda rng: rng.random(COUNT) < 0.1, lambda rng: rng.random(COUNT) * 0.2]
)
def test_hoeffding_bentkus_is_valid(draw: Callable[[np.random.Generator], np.ndarray]) -> None:
    rng = np.random.default_rng(3)
    found = [hoeffding_bentkus_p_value(draw(rng).astype(float), 0.1) for _ in range(DRAWS)]
    assert np.mean(np.array(found) <= LEVEL) <= MOST_OFTEN
    assert hoeffding_bentkus_p_value(np.zeros(100), 0.1) < 1e-4
    assert hoeffding_bentkus_p_value(np.ones(100), 0.1) == 1.0
