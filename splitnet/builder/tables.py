"""The sample table: every exit and every path at every level, on every test sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Array, Execution, batches, inputs_of
from splitnet.bundle import ExitHead, SampleTable
from splitnet.bundle.sample_table import ExitRows, PathRows
from splitnet.console import Progress
from splitnet.runtime.answers import labels, load_confidence, score

PATH_CONFIDENCE = "max-softmax"
"""Confidence of the network's own output, at temperature 1."""


def make_table(
    execution: Execution, exits: Sequence[ExitHead], data: Dataset, progress: Progress
) -> SampleTable:
    """Return the rows of all samples of `data`; payloads are really encoded and decoded.

    Without labels the whole network's own answers count as right.
    """
    exit_parts: dict[str, list[ExitRows]] = {head.id: [] for head in exits}
    path_parts: dict[tuple[str, int], list[PathRows]] = {
        (path.id, level): []
        for path in execution.contract.paths
        for level in range(len(path.levels))
    }
    progress.step(f"running every exit and path on {len(data)} test samples", len(data))
    for rows in batches(len(data)):
        boundaries = execution.boundaries(inputs_of(execution.contract, data, rows))
        whole = boundaries[-1][0]
        truth = labels(whole) if data.y is None else data.y[rows.start : rows.stop]
        for head in exits:
            logits = execution.run(head.graph, boundaries[head.boundary])[0]
            confidence = load_confidence(head.confidence)(logits, head.temperature)
            exit_parts[head.id].append(ExitRows(_float(_score(logits, truth)), _float(confidence)))
        for key, parts in path_parts.items():
            parts.append(_path_rows(execution, key, boundaries, truth))
        progress.advance(len(rows))
    keys = np.stack([np.arange(len(data)), np.zeros(len(data), int)], axis=1).astype(np.int64)
    return SampleTable(
        keys,
        {name: ExitRows(*_joined(parts)) for name, parts in exit_parts.items()},
        {key: PathRows(*_joined(parts)) for key, parts in path_parts.items()},
    )


def _path_rows(
    execution: Execution,
    key: tuple[str, int],
    boundaries: Sequence[Sequence[Array]],
    truth: NDArray[np.int64],
) -> PathRows:
    path, level = key
    payloads, (output, *_) = execution.transmit(path, level, execution.crossing(path, boundaries))
    confidence = load_confidence(PATH_CONFIDENCE)(output, 1.0)
    sizes = np.array([len(payload) for payload in payloads], np.int32)
    return PathRows(_float(_score(output, truth)), _float(confidence), sizes)


def _score(output: Array, truth: NDArray[np.int64]) -> Array:
    return score(labels(output), truth)


def _float(values: Array) -> NDArray[np.float32]:
    return values.astype(np.float32)


def _joined(parts: Sequence[tuple[Array, ...]]) -> list[Array]:
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
