"""Stages that follow each other without a decision in between, run in one go."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splitnet.machines.agent_io import Stage, StageOutcome


@dataclass(frozen=True, slots=True)
class Ran:
    """How a job went: the time of each stage that ended well, and what the last one found.

    ``error`` is what ended the stage behind them, if one was ended so.
    """

    durations_s: tuple[float, ...]
    outcome: StageOutcome = None
    error: Exception | None = None


def run_stages(run: Callable[[Stage], StageOutcome], stages: Sequence[Stage]) -> Ran:
    """Run `stages` in order with `run`, up to the first that raises."""
    durations_s: list[float] = []
    outcome: StageOutcome = None
    for stage in stages:
        started_s = time.monotonic()
        try:
            outcome = run(stage)
        except Exception as error:  # whatever a stage raises ends its request alone
            return Ran(tuple(durations_s), error=error)
        durations_s.append(time.monotonic() - started_s)
    return Ran(tuple(durations_s), outcome)
