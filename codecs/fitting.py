"""Frequency tables from calibration data, computed once where a bundle is built."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.tables import ESCAPE, MAX_PRECISION, MAX_TABLES, ChannelTables, Tables
from splitnet.errors import CodecError

Counts = NDArray[np.int64]
Weights = NDArray[np.floating[Any]]

_PRIOR = 0.5  # counted in front of the data for each symbol (Krichevsky and Trofimov, 1981)
_ROUNDS = 20  # of the clustering, which rarely changes after 10


def count_symbols(symbols: NDArray[np.uint8], groups: NDArray[np.int64], most: int) -> Counts:
    """Return how often each symbol stands in each group, int64 ``(most, 256)``.

    Parameters
    ----------
    symbols
        uint8, of any shape.
    groups
        Number of the group of each symbol, below `most`, of a shape that broadcasts to it.
    """
    keys = (np.broadcast_to(groups, symbols.shape) << 8) + symbols
    counts: Counts = np.bincount(keys.ravel(), minlength=most << 8).reshape(most, 256)
    return counts


def fit_tables(
    symbols: NDArray[np.uint8],
    *,
    per_channel: bool = False,
    most: int = 16,
    precision: int = MAX_PRECISION,
) -> ChannelTables:
    """Return tables for symbols such as `symbols`.

    Parameters
    ----------
    symbols
        uint8 ``(N, C, ...)``, what a quantiser makes of calibration data.
    per_channel
        Whether channels that differ get tables of their own.
    most
        How many tables at most; channels that are alike share one.
    precision
        Bits of a frequency.

    Raises
    ------
    CodecError
        There are no symbols, no channels to tell apart, or `most` is out of range.
    """
    if symbols.dtype != np.uint8 or symbols.size == 0:
        raise CodecError(
            f"tables are fitted to uint8 symbols, not to {symbols.dtype} of shape {symbols.shape}"
        )
    if not 1 <= most <= MAX_TABLES:
        raise CodecError(f"most is {most}, must be from 1 to {MAX_TABLES}")
    if not per_channel:
        counts = count_symbols(symbols, np.zeros((), np.int64), 1)
        return ChannelTables(tables_of_counts(counts, precision))
    if symbols.ndim < 2:
        raise CodecError(f"symbols of shape {symbols.shape} have no channels (axis 1)")
    channels = symbols.shape[1]
    numbers = np.arange(channels).reshape(1, -1, *[1] * (symbols.ndim - 2))
    counts = count_symbols(symbols, numbers, channels)
    classes = cluster(counts, most)
    merged = np.zeros((int(classes.max()) + 1, 256), np.int64)
    np.add.at(merged, classes, counts)
    return ChannelTables(tables_of_counts(merged, precision), classes.astype(np.uint8).tobytes())


def tables_of_counts(
    counts: Counts, precision: int = MAX_PRECISION, prior: float = _PRIOR
) -> Tables:
    """Return a table for each row of `counts` ``(T, 256)``, to which `prior` is added.

    Every table codes the symbols from the lowest to the highest that any row counts; others are
    escaped.
    """
    used = np.flatnonzero(counts.any(axis=0))
    first, last = (int(used[0]), int(used[-1])) if used.size else (0, 0)
    frequencies = np.zeros((len(counts), ESCAPE + 1), np.uint16)
    for row, own in zip(frequencies, counts, strict=True):
        weights = own[first : last + 1] + prior
        row[first : last + 1] = best_frequencies(weights, (1 << precision) - 1)
        row[ESCAPE] = 1
    return Tables(frequencies, precision)


def best_frequencies(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return integers from 1, of sum `total`, under which coding costs least.

    One that is given to or taken from a symbol changes the cost by about weight / frequency.
    """
    found = np.maximum(1, np.floor(weights * (total / weights.sum()))).astype(np.int64)
    step = 1 if found.sum() < total else -1
    order = [(_loss(w, f, step), i) for i, (w, f) in enumerate(zip(weights, found, strict=True))]
    heapq.heapify(order)
    for _ in range(abs(total - int(found.sum()))):
        _, i = heapq.heappop(order)
        found[i] += step
        heapq.heappush(order, (_loss(weights[i], found[i], step), i))
    frequencies: NDArray[np.int64] = found
    return frequencies


def _loss(weight: float, frequency: int, step: int) -> float:
    """Return what coding costs more after `frequency` changes by `step` (less than 0: a gain)."""
    if frequency + step < 1:
        return float("inf")
    return float(weight * (np.log2(frequency) - np.log2(frequency + step)))


def cluster(counts: Counts, most: int) -> NDArray[np.int64]:
    """Return the class of each row of `counts`, at most `most` classes, numbered without gaps.

    Rows share a class if one table for them costs little more than their own (k-means with the
    cross-entropy as distance, from the rows that the classes so far fit worst).
    """
    rows = len(counts)
    if rows <= most:
        return np.arange(rows)
    weights = counts + _PRIOR / 8
    classes = np.zeros(rows, np.int64)
    centres = [weights.sum(axis=0)]
    while len(centres) < most:
        cost = _cross_entropies(weights, np.stack(centres)).min(axis=1)
        excess = cost - np.diag(_cross_entropies(weights, weights))
        centres.append(weights[int(excess.argmax())])
    for _ in range(_ROUNDS):
        moved = _cross_entropies(weights, np.stack(centres)).argmin(axis=1)
        if (moved == classes).all():
            break
        classes = moved
        centres = [weights[classes == c].sum(axis=0) for c in np.unique(classes)]
        classes = np.unique(classes, return_inverse=True)[1].reshape(-1)
    return classes


def _cross_entropies(weights: Weights, centres: Weights) -> Weights:
    """Return what each row of `weights` costs under each row of `centres`, in bits."""
    shares = centres / centres.sum(axis=1, keepdims=True)
    bits: Weights = -weights @ np.log2(shares).T
    return bits
