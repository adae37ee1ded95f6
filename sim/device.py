"""A simulated device: how long each stage takes there and what it makes of a drawn sample."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from splitnet.machines.agent_io import Deliver, Stage, StageOutcome
from splitnet.sim.rows import Found, SampleRows
from splitnet.sim.scenario import AgentSettings
from splitnet.sim.stage_clock import StageClock
from splitnet.values import Profile


class SimulatedDevice:
    """Takes samples from the table and stage times from the profile, each by its own seed.

    Separate sequences keep runs comparable: another policy sees the same samples in the same
    order, however many stages it runs.

    Parameters
    ----------
    profile
        Of the device itself, as its warm-up would have measured it.
    settings
        Of the device: how wide its stage times spread, how its samples come, and what passes
        between a job and the next one.
    seed
        Text that the random numbers are derived from.
    """

    def __init__(
        self, rows: SampleRows, profile: Profile, settings: AgentSettings, seed: str
    ) -> None:
        self.step_s = settings.step_s
        self._rows = rows
        self._drawn = settings.source.order == "drawn"
        self._next = 0
        self._random = Random(f"{seed}/rows")
        self._clock = StageClock(profile, settings.spread, Random(f"{seed}/stages"))

    def next_row(self) -> int:
        """Return the row of the sample table that the next frame stands for."""
        if self._drawn:
            return int(len(self._rows) * self._random.random())
        row, self._next = self._next, (self._next + 1) % len(self._rows)
        return row

    def run(self, stages: Sequence[Stage], row: int) -> tuple[tuple[float, ...], StageOutcome]:
        """Return how long each stage takes this time, and what the last one finds."""
        durations_s = tuple([self._clock.draw_s(stage.keys) for stage in stages])
        return durations_s, self._rows.outcome(stages[-1], row)

    def confidence(self, path: str, level: int, refinements: int, row: int) -> float:
        """Return how sure the cloud's answer to so many refinements of a payload is."""
        return self._rows.cloud(path, level, refinements, row).confidence

    def answer(self, delivered: Deliver, row: int) -> Found | None:
        """Return how good an answer is, ``None`` for a request that ended in an error."""
        return self._rows.answer(delivered, row)
