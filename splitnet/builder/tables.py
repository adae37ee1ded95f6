"""The sample table: every exit and every path at every level, on every test sample."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Array, Execution, batches, inputs_of
from splitnet.bundle import Contract, ExitHead, Prefilter, SampleTable
from splitnet.bundle.sample_table import ExitRows, PathRows
from splitnet.console import Progress
from splitnet.runtime.answers import load_confidence
from splitnet.runtime.reading import AnswerForm, answer_form
from splitnet.values import SKIP

LevelKey: TypeAlias = tuple[str, int]
"""A path and one of its levels."""


def make_table(
    execution: Execution,
    exits: Sequence[ExitHead],
    data: Dataset,
    progress: Progress,
    prefilter: Prefilter | None = None,
    levels: Collection[LevelKey] | None = None,
) -> SampleTable:
    """Return the rows of all samples of `data`; payloads are really encoded and decoded.

    Without labels the whole network's own answers count as right. The rows of a prefilter are those
    of an exit that always answers "nothing of interest".

    Parameters
    ----------
    levels
        Those to run; all of them when left out.
    """
    form = answer_form(execution.contract)
    heads = [*exits, *([] if prefilter is None else [prefilter.head])]
    exit_parts: dict[str, list[ExitRows]] = {head.id: [] for head in heads}
    wanted = level_keys(execution.contract) if levels is None else levels
    path_parts: dict[LevelKey, list[list[PathRows]]] = {key: [] for key in wanted}
    what = "every exit and path" if levels is None else "paths with refinements"
    progress.step(f"running {what} on {len(data)} samples of {data.source}", len(data))
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
            parts.append(list(_path_rows(execution, form, key, boundaries, truth)))
        progress.advance(len(rows))
    keys = np.stack([np.arange(len(data)), np.zeros(len(data), int)], axis=1).astype(np.int64)
    stages = {
        key: [PathRows(*_joined(of_stage)) for of_stage in zip(*parts, strict=True)]
        for key, parts in path_parts.items()
    }
    return SampleTable(
        keys,
        {name: ExitRows(*_joined(parts)) for name, parts in exit_parts.items()},
        {key: found[-1] for key, found in stages.items()},
        {key: tuple(found[:-1]) for key, found in stages.items() if len(found) > 1},
    )


def level_keys(contract: Contract) -> tuple[LevelKey, ...]:
    """Return every path at every level."""
    return tuple((path.id, level) for path in contract.paths for level in range(len(path.levels)))


def _path_rows(
    execution: Execution,
    form: AnswerForm,
    key: LevelKey,
    boundaries: Sequence[Sequence[Array]],
    truth: Array,
) -> Iterator[PathRows]:
    """Yield the rows of the answers to the first part, to the first two, and so on, to all."""
    path, level = key
    for sizes, outputs in execution.transmit_parts(
        path, level, execution.crossing(path, boundaries)
    ):
        answer = execution.answer(outputs)
        score, confidence = form.score(answer, truth), form.confidence(answer)
        yield PathRows(_float(score), _float(confidence), np.array(sizes, np.int32))


def _float(values: Array) -> NDArray[np.float32]:
    return values.astype(np.float32)


def _joined(parts: Sequence[tuple[Array, ...]]) -> list[Array]:
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
