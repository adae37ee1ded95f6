"""Tables among which an encoder chooses, from calibration data.

Blocks are put into classes by k-means, what a block and its choice cost under a table being the
distance.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.blocks import BlockTables, blocks_shape, spread
from splitnet.codecs.fitting import Counts, count_symbols, fit_tables, tables_of_counts
from splitnet.codecs.neighbourhood import planes_shape
from splitnet.codecs.rans import measure
from splitnet.errors import CodecError

SIDES = (0, 8, 4)
"""Sides of blocks that are tried: whole channels, 8 and 4."""

_TABLES = 16
_CHOICE_TABLES = 64  # of at most 17 frequencies each, so a few KB
_MOST_BLOCKS = 1 << 15
_ROUNDS = 12
_PRIOR = 0.25


def fit_blocks(symbols: NDArray[np.uint8]) -> BlockTables:
    """Return tables for symbols such as `symbols`, for blocks of the side that costs least.

    Parameters
    ----------
    symbols
        uint8 ``(N, C, ...)``, what a quantiser makes of calibration data.

    Raises
    ------
    CodecError
        There are no symbols, or no channels.
    """
    if symbols.dtype != np.uint8 or symbols.size == 0 or symbols.ndim < 2:
        raise CodecError(
            f"blocks are fitted to uint8 symbols with channels, not to {symbols.dtype} of shape "
            f"{symbols.shape}"
        )
    planes = np.ascontiguousarray(symbols).reshape(planes_shape(symbols.shape))
    fitted = [_fit(planes, side) for side in SIDES if side < max(planes.shape[2:])]
    return min(fitted, key=lambda found: _cost(found, planes))


def _fit(planes: NDArray[np.uint8], side: int) -> BlockTables:
    planes = planes[: _few(planes, side)]
    shape = blocks_shape(planes.shape, side)
    numbers = np.arange(prod(shape)).reshape(shape)
    of_symbol = spread(numbers, planes.shape, side)
    counts = count_symbols(planes.reshape(-1), of_symbol, numbers.size)
    channels = np.broadcast_to(np.arange(shape[1])[:, None, None], shape).reshape(-1)
    classes = _classes(counts, channels)
    merged = (_members(classes) @ counts)[: int(classes.max()) + 1]
    chosen = classes.astype(np.uint8).reshape(shape)
    choices = fit_tables(chosen, per_channel=True, most=_CHOICE_TABLES)
    return BlockTables(side, choices, tables_of_counts(merged.astype(np.int64)))


def _few(planes: NDArray[np.uint8], side: int) -> int:
    """Return the number of samples that have about `_MOST_BLOCKS`, at least 1."""
    return max(1, _MOST_BLOCKS // max(1, prod(blocks_shape(planes.shape, side)[1:])))


def _cost(found: BlockTables, planes: NDArray[np.uint8]) -> int:
    """Return what choices and symbols take."""
    planes = planes[: _few(planes, min(side for side in SIDES if side))]
    choices = found.choose(planes)
    of_choices = found.choices.which(choices.shape)
    size = measure(choices.reshape(-1), of_choices, found.choices.tables)
    return size + measure(planes.reshape(-1), found.which(choices, planes.shape), found.tables)


def _classes(counts: Counts, channels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class of each block, numbered without gaps.

    They begin as groups of blocks of like means.
    """
    used = counts[:, counts.any(axis=0)]
    means = used @ np.arange(used.shape[1]) / used.sum(axis=1)
    classes = np.empty(len(used), np.int64)
    for number, group in enumerate(np.array_split(np.argsort(means, kind="stable"), _TABLES)):
        classes[group] = number
    average = used.sum(axis=0) / used.sum()
    blocks = used.astype(np.float32)
    for _ in range(_ROUNDS):
        tables = _members(classes) @ blocks + _PRIOR * average
        choices = _PRIOR + np.bincount(
            channels * _TABLES + classes, minlength=_TABLES * (int(channels.max()) + 1)
        ).reshape(-1, _TABLES)
        bits = -np.log2(tables / tables.sum(axis=1, keepdims=True)).astype(np.float32)
        of_choice = -np.log2(choices / choices.sum(axis=1, keepdims=True))
        moved = (blocks @ bits.T + of_choice[channels]).argmin(axis=1)
        if (moved == classes).all():
            break
        classes = moved
    return np.unique(classes, return_inverse=True)[1].reshape(-1)


def _members(classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return which blocks each class has, 1 or 0 ``(_TABLES, blocks)``."""
    found: NDArray[np.float32] = (np.arange(_TABLES)[:, None] == classes).astype(np.float32)
    return found
