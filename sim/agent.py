"""The driver of an agent machine in virtual time: a source, a device and an end of a link."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from splitnet.machines.agent import AgentMachine
from splitnet.machines.agent_io import (
    AgentAction,
    AgentEvent,
    CloseLink,
    Deliver,
    Drain,
    DropFrame,
    Encode,
    Finished,
    FrameArrived,
    LinkDown,
    LinkUp,
    OpenLink,
    Received,
    Release,
    Report,
    RunStages,
    Send,
    StagesDone,
    Tick,
)
from splitnet.sim.connection import Connection
from splitnet.sim.device import SimulatedDevice
from splitnet.sim.kernel import Alarm, Kernel
from splitnet.sim.rows import Found
from splitnet.sim.scenario import Source
from splitnet.wire import Message, Reply

log = logging.getLogger(__name__)


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


class Drop(NamedTuple):
    """A frame that was thrown away before admission."""

    agent: str
    arrived_s: float
    reason: str


Happening: TypeAlias = Answer | Drop | Finished
"""What an agent reports: the end of a frame, and its own."""


class SimulatedAgent:
    """One device with its source.

    Parameters
    ----------
    connect
        Makes an unopened connection of this agent to the worker.
    record
        Takes what happens, in the order of time.
    """

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        machine: AgentMachine,
        device: SimulatedDevice,
        source: Source,
        connect: Callable[[SimulatedAgent], Connection],
        record: Callable[[Happening], None],
    ) -> None:
        self.name = name
        self.machine = machine
        self.connects = 0
        self._kernel = kernel
        self._device = device
        self._source = source
        self._connect = connect
        self._record = record
        self._frames: list[tuple[int, float]] = []
        self._encoded: dict[int, tuple[int, Encode]] = {}
        self._alarm = Alarm(kernel, self._tick)
        self._connection: Connection | None = None
        self._finished = False

    @property
    def frames(self) -> int:
        """Number of frames that have arrived."""
        return len(self._frames)

    def start(self) -> None:
        """Open the connection and let the frames come."""
        self._kernel.at(self._source.start_s, self._frame)
        self._tell(Tick())

    def reset_link(self) -> None:
        """Lose the connection, if there is one, to something on the way."""
        if self._connection is not None:
            self._connection.cut("the connection was lost")

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
        self._tell(Received(message, self._confidence(message)))

    def _confidence(self, message: Message) -> float | None:
        """Return how sure a partial reply to a request under way is."""
        if not isinstance(message, Reply) or message.final or message.request not in self._encoded:
            return None
        row, stage = self._encoded[message.request]
        return self._device.confidence(stage.path, stage.level, message.refinements, row)

    # --- what happens ---------------------------------------------------------------------------

    def _frame(self) -> None:
        source, now_s = self._source, self._kernel.now_s
        frame = len(self._frames)
        self._frames.append((self._device.next_row(), now_s))
        if frame + 1 < source.frames:
            # Not now_s + 1 / rate_hz: an error in each interval would add up.
            self._kernel.at(source.start_s + (frame + 1) / source.rate_hz, self._frame)
        self._tell(FrameArrived(frame, now_s))

    def _tick(self) -> None:
        self._tell(Tick())

    def _tell(self, event: AgentEvent) -> None:
        machine = self.machine
        for action in machine.handle(event, self._kernel.now_s):
            self._do(action)
        if len(self._frames) == self._source.frames and machine.idle and not self._finished:
            self._tell(Drain())
        else:
            self._alarm.set(machine.wakeup_s)

    # --- what is to be done ---------------------------------------------------------------------

    def _do(self, action: AgentAction) -> None:
        if isinstance(action, RunStages):
            row, _ = self._frames[action.frame]
            last = action.stages[-1]
            if isinstance(last, Encode):
                self._encoded[action.request] = row, last
            durations_s, outcome = self._device.run(action.stages, row)
            done = StagesDone(action.job, durations_s, outcome)
            ended_s = self._kernel.now_s + sum(durations_s) + self._device.step_s
            self._kernel.at(ended_s, self._tell, done)
        elif isinstance(action, Send):
            if self._connection is not None:
                self._connection.send_up(action.message)
        elif isinstance(action, Deliver):
            row, arrived_s = self._frames[action.frame]
            found = self._device.answer(action, row)
            self._record(Answer(self.name, arrived_s, row, action, found))
        elif isinstance(action, Release):
            self._encoded.pop(action.request, None)
        elif isinstance(action, DropFrame):
            self._record(Drop(self.name, self._frames[action.frame][1], action.reason))
        elif isinstance(action, OpenLink):
            self._connection = self._connect(self)
            self._connection.open()
        elif isinstance(action, CloseLink):
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        elif isinstance(action, Report):
            log.info("%.6f %s %s %s", self._kernel.now_s, self.name, action.event, action.detail)
        else:
            self._finished = True
            self._record(Finished())
