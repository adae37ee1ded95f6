"""Stops: how sure the answer to some first parts of a payload must be for no more to be sent.

A stop is an exit in the cloud that saves bytes instead of work, so it is chosen as exits are; what
is lost is counted against the answer to all parts.

Source: Lan et al., "Progressive Feature Transmission for Split Classification at the Wireless
Edge", IEEE Trans. Wireless Commun. 2023 (stopping control).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splitnet.builder.data import Dataset, Roles
from splitnet.builder.execution import BATCH, Execution, inputs_of
from splitnet.builder.tables import LevelKey, level_keys, make_table
from splitnet.builder.thresholds import ThresholdWishes, promise_note, thresholds_by
from splitnet.bundle import Contract, SampleTable
from splitnet.codecs.making import count_parts
from splitnet.console import Progress
from splitnet.training.certify import CLOSED, ExitScores
from splitnet.values import Plan, plan_key


@dataclass(frozen=True, slots=True)
class Stops:
    """The stops of the levels that have some.

    Attributes
    ----------
    thresholds
        By path and level (see `Plan.stops`).
    notes
        What a person should know.
    origin
        How they were chosen, by the name of path and level, for the advice; that of levels whose
        stops are all closed too.
    """

    thresholds: Mapping[LevelKey, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


def choose_stops(
    execution: Execution, roles: Roles, wishes: ThresholdWishes, progress: Progress
) -> Stops:
    """Return the stops of every level whose payload has more than one part.

    They are chosen on the calibration data; with a promise, that of each level is its own. Some
    training samples tell how many bytes each stop saves: a path through their thresholds must not
    depend on calibration data.

    Raises
    ------
    ConfigError
        There are too few calibration samples for the promise.
    """
    keys = _levels_with_parts(execution.contract)
    if not keys:
        note = "no level has a payload of several parts, so there is nothing to stop"
        return Stops(notes=() if wishes == ThresholdWishes() else (note,))
    wishes.check_samples(len(roles.calibration))
    saved = {} if wishes.promise is None else saved_bytes(execution, keys, roles.training)
    table = make_table(execution, (), roles.calibration, progress, levels=keys)
    found, origin = {}, {}
    for key in keys:
        scores = stop_scores(table, key)
        found[key], origin[plan_key(*key)] = thresholds_by(wishes, scores, saved.get(key, ()))
    return Stops(
        {key: stops for key, stops in found.items() if min(stops) < CLOSED},
        tuple(note for key, stops in found.items() for note in _notes(table, key, stops, wishes)),
        origin,
    )


def _levels_with_parts(contract: Contract) -> tuple[LevelKey, ...]:
    return tuple(
        (path, level)
        for path, level in level_keys(contract)
        if count_parts(contract.path(path).levels[level].codecs[0]) > 1
    )


def saved_bytes(
    execution: Execution, keys: tuple[LevelKey, ...], data: Dataset
) -> dict[LevelKey, list[float]]:
    """Return the mean bytes that each stop of each level saves on some of `data`, at least one."""
    rows = np.unique(np.linspace(0, len(data) - 1, BATCH, dtype=int)).tolist()
    boundaries = execution.boundaries(inputs_of(execution.contract, data, rows))
    found = {}
    for path, level in keys:
        payloads = execution.encode_parts(path, level, execution.crossing(path, boundaries))
        part_bytes = np.array([[len(part) for part in parts] for parts in payloads]).mean(axis=0)
        left_bytes = part_bytes[::-1].cumsum()[::-1]
        found[path, level] = np.maximum(left_bytes[1:], 1.0).tolist()
    return found


def stop_scores(table: SampleTable, key: LevelKey) -> ExitScores:
    """Return the confidences and scores of a level with parts: its stops are exits, in order."""
    parts = table.parts[key]
    return ExitScores(
        np.stack([part.confidence for part in parts]),
        np.stack([part.score for part in parts]).astype(np.float64),
        table.paths[key].score.astype(np.float64),
    )


def _notes(
    table: SampleTable, key: LevelKey, stops: tuple[float, ...], wishes: ThresholdWishes
) -> Iterator[str]:
    """Yield what a person should know of the stops of a level."""
    name = f"the stops of {plan_key(*key)}"
    if min(stops) >= CLOSED:
        yield (
            f"{name} are closed, so no plan has them: no threshold loses at most "
            f"{wishes.limit:g} of the score on calibration data"
        )
        return
    stopped = table.plan_statistics(Plan(*key, stops=stops))
    whole = table.plan_statistics(Plan(*key))
    yield (
        f"{name} send {stopped.bytes:.0f} of {whole.bytes:.0f} bytes on calibration data, in "
        f"{stopped.replies:.2f} answers a request; the score is {stopped.accuracy:.4f} with them "
        f"and {whole.accuracy:.4f} without"
    )
    if wishes.promise is not None:
        yield promise_note(name, "all parts", wishes.promise, len(table))
