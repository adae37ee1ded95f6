"""The sample table: every exit and every path at every level, on every test sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Array, Execution, batches, inputs_of
from splitnet.bundle import ExitHead, Prefilter, SampleTable
from splitnet.bundle.sample_table import ExitRows, PathRows
from splitnet.console import Progress
from splitnet.runtime.answers import load_confidence
from splitnet.runtime.reading import AnswerForm, answer_form
from splitnet.values import SKIP


def make_table(
    execution: Execution,
    exits: Sequence[ExitHead],
    data: Dataset,
    progress: Progress,
    prefilter: Prefilter | None = None,
) -> SampleTable:
    """Return the rows of all samples of `data`; payloads are really encoded and decoded.

    Without labels the whole network's own answers count as right. The rows of a prefilter are those
    of an exit that always answers "nothing of interest".
    """
    form = answer_form(execution.contract)
    heads = [*exits, *([] if prefilter is None else [prefilter.head])]
    exit_parts: dict[str, list[ExitRows]] = {head.id: [] for head in heads}
    path_parts: dict[tuple[str, int], list[PathRows]] = {
        (path.id, level): []
        for path in execution.contract.paths
        for level in range(len(path.levels))
    }
    progress.step(f"running every exit and path on {len(data)} test samples", len(data))
    for rows in batches(len(data)):
        boundaries = execution.boundaries(inputs_of(execution.contract, data, rows))
        if data.y is None:
            truth = form.truth(execution.answer(boundaries[-1]))
        else:
            truth = data.y[rows.start : rows.stop]
        for head in heads:
            outputs = execution.run(head.graph, boundaries[head.boundary])
            confidence = load_confidence(head.confidence)(outputs[0], head.temperature)
            if prefilter is not None and head.id == SKIP:
                right = form.nothing(truth, prefilter.interest)
            else:
                right = form.score(execution.answer(outputs), truth)
            exit_parts[head.id].append(ExitRows(_float(right), _float(confidence)))
        for key, parts in path_parts.items():
            parts.append(_path_rows(execution, form, key, boundaries, truth))
        progress.advance(len(rows))
    keys = np.stack([np.arange(len(data)), np.zeros(len(data), int)], axis=1).astype(np.int64)
    return SampleTable(
        keys,
        {name: ExitRows(*_joined(parts)) for name, parts in exit_parts.items()},
        {key: PathRows(*_joined(parts)) for key, parts in path_parts.items()},
    )


def _path_rows(
    execution: Execution,
    form: AnswerForm,
    key: tuple[str, int],
    boundaries: Sequence[Sequence[Array]],
    truth: Array,
) -> PathRows:
    path, level = key
    payloads, outputs = execution.transmit(path, level, execution.crossing(path, boundaries))
    answer = execution.answer(outputs)
    sizes = np.array([len(payload) for payload in payloads], np.int32)
    return PathRows(_float(form.score(answer, truth)), _float(form.confidence(answer)), sizes)


def _float(values: Array) -> NDArray[np.float32]:
    return values.astype(np.float32)


def _joined(parts: Sequence[tuple[Array, ...]]) -> list[Array]:
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
