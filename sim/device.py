"""A simulated device: how long each stage takes there and what it makes of a drawn sample."""

from __future__ import annotations

from random import Random

from splitnet.machines.agent_io import Deliver, Encoded, LocalResult, Stage
from splitnet.machines.stage_times import stage_keys
from splitnet.sim.rows import Found, SampleRows
from splitnet.sim.stage_clock import StageClock
from splitnet.values import Profile


class SimulatedDevice:
    """Draws samples from the table and stage times from the profile, each by its own seed.

    Separate sequences keep runs comparable: another policy sees the same samples in the same
    order, however many stages it runs.

    Parameters
    ----------
    profile
        Of the device itself, as its warm-up would have measured it.
    step_s
        What passes between a stage and the next one.
    seed
        Text that the random numbers are derived from.
    """

    def __init__(
        self, rows: SampleRows, profile: Profile, spread: float, step_s: float, seed: str
    ) -> None:
        self.step_s = step_s
        self._rows = rows
        self._random = Random(f"{seed}/rows")
        self._clock = StageClock(profile, spread, Random(f"{seed}/stages"))

    def draw_row(self) -> int:
        """Return the row of the sample table that the next frame stands for."""
        return int(len(self._rows) * self._random.random())

    def run(self, stage: Stage, row: int) -> tuple[float, LocalResult | Encoded | None]:
        """Return how long a stage takes this time, and its outcome."""
        return self._clock.draw_s(stage_keys(stage)), self._rows.outcome(stage, row)

    def answer(self, delivered: Deliver, row: int) -> Found | None:
        """Return how good an answer is, ``None`` for a request that ended in an error."""
        return self._rows.answer(delivered, row)
