"""Stages in a row: their times, the last one's outcome, and the first one that raises."""

from __future__ import annotations

from splitnet.errors import ModelError
from splitnet.machines.agent_io import (
    Encode,
    LocalResult,
    Prepare,
    RunExit,
    RunSegments,
    Stage,
    StageOutcome,
)
from splitnet.runtime.jobs import run_stages

STAGES = (Prepare(), RunSegments(0, 1), RunExit("e1"))


def test_stages_run_in_order_and_the_last_one_tells_the_outcome() -> None:
    seen: list[Stage] = []

    def run(stage: Stage) -> StageOutcome:
        seen.append(stage)
        return LocalResult(0.5, stage) if isinstance(stage, RunExit) else None

    ran = run_stages(run, STAGES)
    assert tuple(seen) == STAGES
    assert ran.outcome == LocalResult(0.5, RunExit("e1"))
    assert len(ran.durations_s) == 3 and min(ran.durations_s) >= 0
    assert ran.error is None


def test_a_stage_that_raises_ends_the_row_and_keeps_what_was_done() -> None:
    failure = ModelError("out of memory")

    def run(stage: Stage) -> StageOutcome:
        if isinstance(stage, RunExit):
            raise failure
        return None

    ran = run_stages(run, (*STAGES, Encode("c1", 1)))
    assert len(ran.durations_s) == 2
    assert (ran.outcome, ran.error) == (None, failure)
