"""The driver of an agent machine in virtual time: a source, a device and an end of a link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import NamedTuple

from splitnet.bundle import Bundle
from splitnet.errors import ConfigError
from splitnet.machines.agent import AgentMachine
from splitnet.machines.agent_io import (
    AgentEvent,
    CloseLink,
    Deliver,
    Drain,
    DropFrame,
    Finished,
    FrameArrived,
    LinkDown,
    LinkUp,
    OpenLink,
    Received,
    Report,
    RunStage,
    Send,
    StageDone,
    Tick,
)
from splitnet.machines.stage_times import stage_keys
from splitnet.policies.making import make_policy
from splitnet.sim.connection import Connection
from splitnet.sim.kernel import Alarm, Kernel
from splitnet.sim.rows import Found, SampleRows
from splitnet.sim.scenario import AgentSettings
from splitnet.sim.stage_clock import StageClock, slowed
from splitnet.wire import Message


class Answer(NamedTuple):
    """One answer of one agent.

    Attributes
    ----------
    arrived_s
        When the frame arrived.
    row
        Row of the sample table that the frame stands for.
    found
        Score and confidence, ``None`` if the request ended in an error.
    """

    agent: str
    arrived_s: float
    row: int
    delivered: Deliver
    found: Found | None


class SimulatedAgent:
    """One device with its source; `answers` grows in the order in which they are handed over.

    Parameters
    ----------
    name
        What the worker and the report call it.
    start_s
        When its first frame arrives.
    connect
        Makes an unopened connection of this agent to the worker.
    seed
        Text that its random numbers are derived from.
    """

    def __init__(
        self,
        kernel: Kernel,
        bundle: Bundle,
        settings: AgentSettings,
        name: str,
        start_s: float,
        connect: Callable[[SimulatedAgent], Connection],
        seed: str,
    ) -> None:
        self.name = name
        self.settings = settings
        self.answers: list[Answer] = []
        self.drops: Counter[str] = Counter()
        self.connects = 0
        self.frames = 0
        self.finished = False
        self._kernel = kernel
        self._start_s = start_s
        self._connect = connect
        self._rows = SampleRows(bundle)
        self._row_of_frame: dict[int, tuple[int, float]] = {}
        self._draw_row = Random(f"{seed}/rows").randrange
        profile = slowed(bundle.advice.profiles[0], settings.factor)
        self._clock = StageClock(profile, settings.spread, Random(f"{seed}/device"))
        link = replace(settings.bounds.link, device=name, seed=Random(f"{seed}/link").getrandbits(32))
        bounds = replace(settings.bounds, link=link)
        self._machine = AgentMachine(bundle, profile, make_policy(settings.policy), bounds)
        self._alarm = Alarm(kernel, self._tick)
        self._connection: Connection | None = None
        self._check_deadline()

    @property
    def counters(self) -> Counter[str]:
        """What the machine counted."""
        return self._machine.counters

    def start(self) -> None:
        """Open the connection and let the frames come."""
        self._tell(Tick())
        self._kernel.at(self._start_s, self._frame)

    def _check_deadline(self) -> None:
        deadline_s, first_s = self.settings.bounds.deadline_s, self._machine.first_answer_s
        if deadline_s is not None and deadline_s < first_s:
            raise ConfigError(
                f"{self.name}: a deadline of {deadline_s:g} s is shorter than the first answer of "
                f"this device takes ({first_s:.4f} s, 95th percentile): give it more time, a lower "
                "factor, or a bundle with an earlier exit"
            )

    # --- what a connection tells ----------------------------------------------------------------

    def established(self) -> None:
        """Greet the worker."""
        self.connects += 1
        self._tell(LinkUp())

    def lost(self, reason: str) -> None:
        """Let the machine decide when to try again."""
        self._connection = None
        self._tell(LinkDown(reason))

    def received(self, message: Message) -> None:
        """Hand a message of the worker to the machine."""
        self._tell(Received(message))

    # --- what happens ---------------------------------------------------------------------------

    def _frame(self) -> None:
        source, now_s = self.settings.source, self._kernel.now_s
        frame = self.frames
        self.frames += 1
        self._row_of_frame[frame] = (self._draw_row(len(self._rows)), now_s)
        if self.frames < source.frames:
            self._kernel.at(self._start_s + self.frames / source.rate_hz, self._frame)
        self._tell(FrameArrived(frame, now_s))

    def _tick(self) -> None:
        self._tell(Tick())

    def _tell(self, event: AgentEvent) -> None:
        machine, now_s = self._machine, self._kernel.now_s
        for action in machine.handle(event, now_s):
            if isinstance(action, RunStage):
                self._run(action)
            elif isinstance(action, Send):
                if self._connection is not None:
                    self._connection.send_up(action.message)
            elif isinstance(action, Deliver):
                self._deliver(action)
            elif isinstance(action, DropFrame):
                del self._row_of_frame[action.frame]
                self.drops[action.reason] += 1
            elif isinstance(action, OpenLink):
                self._connection = self._connect(self)
                self._connection.open()
            elif isinstance(action, CloseLink):
                self._close()
            elif isinstance(action, Finished):
                self.finished = True
        if self.frames == self.settings.source.frames and machine.idle and not self.finished:
            self._tell(Drain())
            return
        self._alarm.set(machine.wakeup_s)

    def _run(self, job: RunStage) -> None:
        duration_s = self._clock.draw_s(stage_keys(job.stage))
        row, _ = self._row_of_frame[job.frame]
        outcome = self._rows.outcome(job.stage, row)
        done = StageDone(job.job, duration_s, outcome)
        self._kernel.at(self._kernel.now_s + duration_s, self._tell, done)

    def _deliver(self, delivered: Deliver) -> None:
        row, arrived_s = self._row_of_frame.pop(delivered.frame)
        found = self._rows.answer(delivered, row)
        self.answers.append(Answer(self.name, arrived_s, row, delivered, found))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
