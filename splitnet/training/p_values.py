"""Valid p-values for "the mean loss is at least `risk`", for a fixed number of samples.

Small p-values say that the mean is below `risk`. Valid: under the hypothesis, and for independent
samples, the probability of a p-value of at most d is at most d, for every d and every number of
samples; nothing is asymptotic.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

MAX_PAIRS_COUNT = 10_000
"""Samples up to which the exact test of pairs is used; its table grows with their square."""

_PAIRS_SHARE, _PAIRS_MORE = 0.06, 40
"""The table reaches to this share of losses and of wins, and a few more."""

_POINTS = 65
"""Points of the unknown share of wins at which the table's tails are computed; they are smooth."""


def risk_p_value(lost: Array, risk: float) -> float:
    """Return a p-value for ``E[lost] >= risk``, where `lost` is in [-1, 1], ``(N,)``.

    Right-or-wrong scores differ by -1, 0 or 1 and get the exact test of pairs, up to
    `MAX_PAIRS_COUNT` samples; anything else, such as shares of a page of labels, the betting test.
    """
    if len(lost) <= MAX_PAIRS_COUNT and np.isin(lost, (-1.0, 0.0, 1.0)).all():
        return pairs_p_value(int((lost > 0).sum()), int((lost < 0).sum()), len(lost), risk)
    return betting_p_value(lost, risk)


def pairs_p_value(losses: int, wins: int, count: int, risk: float) -> float:
    """Return an exact p-value for a paired difference of right-or-wrong scores.

    Of `count` samples `losses` are only right late and `wins` only right early. With probabilities
    a and b of the two, the hypothesis is ``a - b >= risk``. Pairs of counts are ordered by the
    score statistic (Nam, Biometrics 53, 1997; Tango, Statistics in Medicine 17, 1998): the distance
    of their difference from ``risk``, in standard deviations at the b that fits them best. The
    p-value of a pair is the probability of all pairs at least as far, from the trinomial
    distribution, for the worst b that there is; with fewer losses at the same wins a pair is never
    nearer, so that ``a = b + risk`` is the worst a. Few samples differ at all, so this is far
    sharper than a bound that only knows the range [-1, 1]. Pairs beyond the table get 1, which
    keeps the test valid.
    """
    table = _pairs_table(count, risk)
    inside = losses < table.shape[0] and wins < table.shape[1]
    return float(table[losses, wins]) if inside else 1.0


def betting_p_value(lost: Array, risk: float) -> float:
    """Return a p-value for the mean of any loss in [-1, 1], from a gambler's wealth.

    Under the hypothesis ``E[lost] >= risk`` the wealth ``prod(1 + bet * (risk - lost))`` is a
    supermartingale for bets that only look at earlier samples, so the probability that it ever
    reaches ``1 / d`` is at most d (Waudby-Smith and Ramdas, "Estimating means of bounded random
    variables by betting", JRSS B 2024, arXiv 2010.09686, proposition 2 and section 3.2). The bets
    follow mean and variance of the samples so far; the samples must be in random order.
    """
    gains = risk - np.asarray(lost, np.float64)
    before = np.arange(len(gains))
    # One pseudo-sample of variance 1/4 and of no gain keeps the first bets small.
    mean = np.concatenate([[0.0], np.cumsum(gains)[:-1]]) / (before + 1)
    square = np.concatenate([[0.25], 0.25 + np.cumsum(gains**2)[:-1]]) / (before + 1)
    bets = np.clip(mean / square, 0.0, 0.5 / (1 - risk))
    wealth = np.exp(np.max(np.cumsum(np.log1p(bets * gains)), initial=0.0))
    return float(min(1.0, 1.0 / wealth))


def binomial_p_value(failures: int, count: int, risk: float) -> float:
    """Return the exact p-value for a probability of failure of at least `risk`."""
    return float(min(1.0, _binomial(count, risk, failures).sum()))


def hoeffding_bentkus_p_value(lost: Array, risk: float) -> float:
    """Return a p-value for the mean of a loss in [0, 1] (Learn then Test, proposition 2)."""
    count, mean = len(lost), float(np.mean(lost))
    divergence = _divergence(min(mean, risk), risk)
    bentkus = math.e * binomial_p_value(math.ceil(count * mean - 1e-9), count, risk)
    return min(1.0, math.exp(-count * divergence), bentkus)


def _divergence(mean: float, risk: float) -> float:
    """Return the Kullback-Leibler divergence of two coins."""
    parts = ((mean, risk), (1 - mean, 1 - risk))
    return sum(a * math.log(a / b) for a, b in parts if a > 0)


@lru_cache(maxsize=8)
def _pairs_table(count: int, risk: float) -> NDArray[np.float64]:
    """Return the p-value of each number of losses and wins."""
    size = min(count, math.ceil(_PAIRS_SHARE * count) + _PAIRS_MORE) + 1
    losses, wins = np.arange(size)[:, np.newaxis], np.arange(size)[np.newaxis, :]
    same = count - losses - wins
    distance = _score_statistic(losses, wins, count, risk)
    # Barnard's condition: fewer losses are never less extreme.
    distance = np.maximum.accumulate(distance[::-1], axis=0)[::-1]
    distance[same < 0] = -np.inf
    order = np.argsort(-distance, axis=None, kind="stable")
    ordered = distance.ravel()[order]
    ends = np.searchsorted(-ordered, -ordered, side="right") - 1
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    ways = logs[count] - logs[losses] - logs[wins] - logs[np.maximum(same, 0)]
    worst = np.zeros(order.size)
    for b in min(0.4999 * (1 - risk), 1.5 * size / count) * np.linspace(0, 1, _POINTS) ** 2:
        log = ways + losses * math.log(b + risk) + same * math.log1p(-2 * b - risk)
        log = log + wins * math.log(b) if b > 0 else np.where(wins > 0, -np.inf, log)
        probability = np.where(same >= 0, np.exp(log), 0.0)
        worst = np.maximum(worst, np.cumsum(probability.ravel()[order])[ends])
    table = np.empty(order.size)
    table[order] = np.minimum(1.0, worst)
    return table.reshape(size, size)


def _score_statistic(losses: Array, wins: Array, count: int, risk: float) -> NDArray[np.float64]:
    """Return how far ``losses - wins`` lies below its least mean, in standard deviations."""
    half = (losses + wins) * (1 - risk) - 2 * risk * (count - losses)
    root = np.sqrt(half**2 + 8 * count * wins * risk * (1 - risk))
    b = (half + root) / (4 * count)
    variance = count * (2 * b + risk - risk**2)
    statistic: NDArray[np.float64] = (count * risk - losses + wins) / np.sqrt(variance)
    return statistic


def _binomial(count: int, probability: float, most: int) -> NDArray[np.float64]:
    """Return the binomial probabilities of 0 to `most`."""
    k = np.arange(min(most, count) + 1)
    steps = np.log((count - k[:-1]) / (k[:-1] + 1)) + math.log(probability / (1 - probability))
    logs = count * math.log1p(-probability) + np.concatenate([[0.0], np.cumsum(steps)])
    probabilities: NDArray[np.float64] = np.exp(logs)
    return probabilities
