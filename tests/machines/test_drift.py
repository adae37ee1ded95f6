"""The drift monitor: silent while live confidences are the table's, loud when they move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from splitnet.bundle import Bundle
from splitnet.bundle.sample_table import ExitRows, PathRows, SampleTable
from splitnet.machines.agent import AgentConfig
from splitnet.machines.agent_io import LocalResult
from splitnet.machines.drift import MIN_ROWS, DriftMonitor

BLOCK, ROWS = 200, 2000


@pytest.fixture(scope="module")
def bundle(sample_bundle: Bundle) -> Bundle:
    """The sample bundle with a second exit, and with more rows."""
    rng = np.random.default_rng(0)
    advice = sample_bundle.advice
    first = rng.beta(2, 1, ROWS).astype(np.float32)
    second = np.clip(first + rng.normal(0, 0.05, ROWS), 0, 1).astype(np.float32)
    keys = np.stack([np.arange(ROWS), np.zeros(ROWS, int)], axis=1).astype(np.int64)
    score = np.ones(ROWS, np.float32)
    exits = {"e1": ExitRows(score, first), "e2": ExitRows(score, second)}
    head = replace(advice.exits[0], id="e2", boundary=2)
    return Bundle(
        sample_bundle.contract,
        replace(advice, exits=(head, *advice.exits)),
        SampleTable(keys, exits, _paths(sample_bundle, ROWS)),
    )


def _paths(bundle: Bundle, count: int) -> dict[tuple[str, int], PathRows]:
    score, sizes = np.ones(count, np.float32), np.ones(count, np.int32)
    return {key: PathRows(score, score, sizes) for key in bundle.table.paths}


def _alarms(monitor: DriftMonitor, values: np.ndarray) -> int:
    return sum(monitor.add("e1", float(value), {}) is not None for value in values)


def test_the_same_distribution_is_silent(bundle: Bundle) -> None:
    live = np.random.default_rng(1).beta(2, 1, 400 * BLOCK)
    assert _alarms(DriftMonitor(bundle, BLOCK), live) == 0


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (8.0, 1.0), (2.0, 2.0)])
def test_another_distribution_is_told_in_the_first_blocks(
    bundle: Bundle, a: float, b: float
) -> None:
    live = np.random.default_rng(2).beta(a, b, 10 * BLOCK)
    assert _alarms(DriftMonitor(bundle, BLOCK), live) >= 9


def test_a_shift_in_the_middle(bundle: Bundle) -> None:
    rng, monitor = np.random.default_rng(3), DriftMonitor(bundle, BLOCK)
    assert _alarms(monitor, rng.beta(2, 1, 20 * BLOCK)) == 0
    worse = rng.beta(2, 1, 2 * BLOCK) * 0.7
    found = [drift for value in worse if (drift := monitor.add("e1", float(value), {}))]
    assert len(found) == 2
    assert found[0].distance > found[0].limit and found[0].live < found[0].table
    assert str(found[0]).startswith("exit=e1 distance=0.")


def test_who_went_on_is_compared_with_rows_that_went_on(bundle: Bundle) -> None:
    rows = bundle.table.exits
    goes_on = rows["e1"].confidence < bundle.advice.exits[1].threshold
    rng = np.random.default_rng(4)
    picked = rng.choice(np.flatnonzero(goes_on), 3 * BLOCK)
    monitor = DriftMonitor(bundle, BLOCK)
    for row in picked:
        before: dict[str | None, LocalResult] = {
            "e1": LocalResult(float(rows["e1"].confidence[row]), None)
        }
        assert monitor.add("e2", float(rows["e2"].confidence[row]), before) is None
    alone = [monitor.add("e2", float(rows["e2"].confidence[row]), {}) for row in picked]
    assert any(alone)  # all who come to e2 without e1 should look like the whole table


def test_too_few_rows_are_not_compared(sample_bundle: Bundle) -> None:
    table, count = sample_bundle.table, MIN_ROWS - 1
    few = SampleTable(
        table.keys[:count],
        {k: ExitRows(*(c[:count] for c in v)) for k, v in table.exits.items()},
        _paths(sample_bundle, count),
    )
    monitor = DriftMonitor(Bundle(sample_bundle.contract, sample_bundle.advice, few), 50)
    assert not any(monitor.add("e1", 0.0, {}) for _ in range(100))


@pytest.mark.parametrize(("shift", "drifts"), [(0.0, 0), (-0.4, 1)])
def test_the_agent_counts_and_reports_it(
    sample_bundle: Bundle, world: Callable[..., Any], shift: float, drifts: int
) -> None:
    known = sample_bundle.table.exits["e1"].confidence
    w = world(
        policy="fixed:plan=device:e1",
        config=AgentConfig(deadline_s=0.2),
        confidence=lambda frame: max(0.0, float(known[frame % len(known)]) + shift),
    )
    w.frames(520, 0.05)
    w.run(30.0)
    assert w.agent.counters["drifts"] == drifts
    assert sum("exit=e1 distance=" in report for report in w.reports) == drifts
