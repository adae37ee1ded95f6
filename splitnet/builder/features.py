"""Cached boundary tensors: the frozen network runs once, its learned parts train on the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Execution, batches, inputs_of
from splitnet.console import Progress
from splitnet.values import TensorSpec

MEMORY_BYTES = 1 << 28
"""A tensor cache above this size lies in a file that is mapped into memory."""

DISK_BYTES = 4 << 30
"""Bound on the caches of one data set; of larger ones a part is drawn by seed."""


@dataclass(frozen=True, slots=True)
class Features:
    """The first tensors of some boundaries for some samples.

    Attributes
    ----------
    data
        The samples, in the order of the rows.
    at
        Tensor (N, ...) by boundary.
    """

    data: Dataset
    at: Mapping[int, NDArray[Any]]


def collect_features(
    execution: Execution,
    data: Dataset,
    wanted: Collection[int],
    progress: Progress,
    seed: int = 0,
    limit_bytes: int = DISK_BYTES,
) -> Features:
    """Run the network over `data` and keep the tensors of the `wanted` boundaries.

    Parameters
    ----------
    seed
        Seed of the draw if the caches of all samples would exceed `limit_bytes`.
    """
    specs = {b: execution.contract.boundaries[b].tensors[0] for b in sorted(wanted)}
    sample_bytes = sum(spec.sample_bytes() for spec in specs.values())
    if len(data) * sample_bytes > limit_bytes:
        drawn = np.random.default_rng(seed).permutation(len(data))
        data = data.rows(np.sort(drawn[: max(1, limit_bytes // sample_bytes)]))
    caches = {boundary: _cache(spec, len(data)) for boundary, spec in specs.items()}
    progress.step(f"running the network on {len(data)} samples of {data.source}", len(data))
    for rows in batches(len(data)):
        tensors = execution.boundaries(inputs_of(execution.contract, data, rows))
        for boundary, cache in caches.items():
            cache[rows.start : rows.stop] = tensors[boundary][0]
        progress.advance(len(rows))
    return Features(data, caches)


def _cache(spec: TensorSpec, count: int) -> NDArray[Any]:
    shape, dtype = spec.shape(count), np.dtype(spec.dtype)
    if prod(shape) * dtype.itemsize <= MEMORY_BYTES:
        return np.empty(shape, dtype)
    with TemporaryFile() as file:  # it has no name: what is mapped goes when nobody needs it
        return np.memmap(file, dtype, "w+", shape=shape)
