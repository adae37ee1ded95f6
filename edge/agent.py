"""The driver of the agent machine: one reactor thread with sockets and timers, one executor."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from splitnet.edge.finding import Connection
from splitnet.edge.pace import Pace
from splitnet.edge.reporting import Answer, Summary, answer_line
from splitnet.edge.sources import Frame
from splitnet.errors import OverloadError, SplitnetError, TransportError, WireError, one_line
from splitnet.machines.agent import AgentMachine
from splitnet.machines.agent_io import (
    AgentAction,
    AgentEvent,
    CloseLink,
    CloudResult,
    Deliver,
    Drain,
    DropFrame,
    Finished,
    FrameArrived,
    Garbled,
    LinkDown,
    LinkFigures,
    LinkUp,
    LocalResult,
    OpenLink,
    Prepare,
    Received,
    Release,
    Report,
    RunStages,
    Send,
    StagesDone,
    StagesFailed,
    Tick,
)
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.executor import Executor
from splitnet.runtime.jobs import Ran, run_stages
from splitnet.runtime.reading import Reading
from splitnet.transport.dealer import Down, Up
from splitnet.transport.reactor import Reactor
from splitnet.wire import Reply, decode, encode

log = logging.getLogger(__name__)

BYE_S = 0.1
"""Time that the last word may take to leave the machine."""

FIGURES_S = 0.25
"""The kernel is asked about the connection at most this often."""

SHORT_JOBS = 8
"""Short jobs in a row before the sockets are looked at again."""


class EdgeAgent:
    """Carries out what the machine decides, until the source is exhausted or `stop` is called.

    Parameters
    ----------
    open_dealer
        Makes an unopened connection to a worker.
    emit
        Takes the JSON object of each answer.
    notice
        Takes lines for the operator.
    """

    def __init__(
        self,
        machine: AgentMachine,
        runtime: DeviceRuntime,
        pace: Pace,
        reactor: Reactor,
        open_dealer: Callable[[], Connection],
        emit: Callable[[dict[str, Any]], None],
        notice: Callable[[str], None],
    ) -> None:
        self._machine = machine
        self._runtime = runtime
        self._pace = pace
        self._reactor = reactor
        self._open_dealer = open_dealer
        self._emit = emit
        self._notice = notice
        self._executor: Executor[Ran] = Executor("splitnet-stages", reactor.wake)
        self._dealer: Connection | None = None
        self._frames: dict[int, Frame] = {}
        self._events: deque[AgentEvent] = deque()
        self._figures_due_s = 0.0
        self._stopping = False
        self._draining = False
        self._finished = False
        self.summary = Summary()

    def stop(self) -> None:
        """Admit nothing more, answer what was admitted, end (from any thread or signal handler)."""
        self._stopping = True
        self._reactor.wake()

    def run(self) -> Summary:
        """Answer every frame and return what there is to say of all of them."""
        try:
            self._executor.start()
            self._handle(Tick())
            while not self._finished:
                self._produce()
                self._wait()
                self._take_results()
                self._take_messages()
                self._take_figures()
        finally:
            self._close_link()
            self._executor.close()
        return self.summary

    # --- what happens ---------------------------------------------------------------------------

    def _produce(self) -> None:
        """Let frames arrive that are due, and begin to drain behind the last one."""
        if self._stopping:
            self._pace.stop()
        while taken := self._pace.take(time.monotonic(), self._machine.wants_frame):
            frame, arrived_s = taken
            number = self.summary.frames
            self.summary.frames += 1
            self._frames[number] = frame
            self._handle(FrameArrived(number, arrived_s))
        if not self._draining and (self._stopping or (self._pace.exhausted and self._machine.idle)):
            self._draining = True
            self._handle(Drain())

    def _wait(self) -> None:
        """Sleep until something happens or is due; a timer of the machine ends in a `Tick`."""
        if self._finished:
            return
        began_s = time.monotonic()
        wakeup_s = self._machine.wakeup_s
        due = [due_s for due_s in (wakeup_s, self._pace.wakeup_s) if due_s is not None]
        self._reactor.wait(min(due) - began_s if due else None)
        now_s = time.monotonic()
        if wakeup_s is not None and now_s >= wakeup_s:
            self._handle(Tick(late_s=now_s - max(wakeup_s, began_s)))

    def _take_results(self) -> None:
        """Take what has ended; a short job that follows has ended already, so look again."""
        for _ in range(SHORT_JOBS):
            done = self._executor.take()
            if done is None:
                return
            ran = done.value or Ran((), error=done.error)
            if ran.error is None:
                self._handle(StagesDone(done.job, ran.durations_s, ran.outcome))
                continue
            if not isinstance(ran.error, SplitnetError):
                log.error("job=%d failed", done.job, exc_info=ran.error)
            self._handle(StagesFailed(done.job, one_line(ran.error), ran.durations_s))

    def _take_messages(self) -> None:
        dealer = self._dealer
        if dealer is None:
            return
        for event in dealer.events():
            if isinstance(event, Up):
                self._handle(LinkUp())
            elif isinstance(event, Down):
                self._handle(LinkDown(event.reason))
            else:
                self._handle(self._parsed(event))
            if self._dealer is not dealer:
                return

    def _parsed(self, frames: list[bytes]) -> Received | Garbled:
        try:
            message = decode(frames)
        except WireError as error:
            return Garbled(one_line(error))
        if isinstance(message, Reply) and not message.final:
            return Received(message, self._confidence(message))
        return Received(message)

    def _confidence(self, reply: Reply) -> float | None:
        """Return how sure the answer in a reply is, ``None`` if it cannot be read."""
        try:
            return self._runtime.decode_reply(reply.payload, reply.dims).confidence
        except SplitnetError as error:
            log.info("unreadable reply=%d to request=%d: %s", reply.number, reply.request, error)
            return None

    def _take_figures(self) -> None:
        now_s = time.monotonic()
        if self._dealer is None or now_s < self._figures_due_s:
            return
        self._figures_due_s = now_s + FIGURES_S
        info = self._dealer.tcp_info()
        if info is not None:
            self._handle(LinkFigures(info.rtt_s, info.unsent_bytes, info.retransmits))

    # --- what is to be done ---------------------------------------------------------------------

    def _handle(self, event: AgentEvent) -> None:
        self._events.append(event)
        while self._events:
            actions = self._machine.handle(self._events.popleft(), time.monotonic())
            for action in actions:
                self._do(action)

    def _do(self, action: AgentAction) -> None:
        if isinstance(action, RunStages):
            if isinstance(action.stages[0], Prepare):
                self._runtime.start(action.request, self._frames[action.frame].load)
            run = partial(self._runtime.run, action.request)
            work = partial(run_stages, run, action.stages)
            self._executor.submit(action.job, work, action.expected_s)
        elif isinstance(action, Send):
            self._send(action)
        elif isinstance(action, Deliver):
            self._deliver(action)
        elif isinstance(action, Release):
            self._runtime.release(action.request)
        elif isinstance(action, DropFrame):
            frame = self._frames.pop(action.frame)
            log.info("dropped frame=%d name=%s reason=%r", action.frame, frame.name, action.reason)
        elif isinstance(action, OpenLink):
            self._open_link()
        elif isinstance(action, CloseLink):
            self._close_link(BYE_S if self._draining else 0.0)
        elif isinstance(action, Report):
            self._report(action)
        else:
            assert isinstance(action, Finished)
            self._finished = True

    def _open_link(self) -> None:
        self._close_link()
        dealer = self._open_dealer()
        try:
            dealer.open()
        except TransportError as error:
            self._events.append(LinkDown(str(error)))
            return
        self._dealer = dealer

    def _close_link(self, linger_s: float = 0.0) -> None:
        if self._dealer is not None:
            self.summary.link = self._dealer.tcp_info() or self.summary.link
            self._dealer.close(linger_s)
            self._dealer = None

    def _send(self, action: Send) -> None:
        if self._dealer is None:
            return
        try:
            self._dealer.send(encode(action.message))
        except OverloadError as error:
            self._events.append(LinkDown(str(error)))

    def _report(self, report: Report) -> None:
        self.summary.connects += report.event == "link-up"
        line = f"{report.event}: {report.detail}"
        if report.warning or report.event == "link-up":
            self._notice(line)
        else:
            log.info(line)

    def _deliver(self, delivered: Deliver) -> None:
        frame = self._frames.pop(delivered.frame)
        answer = self._answer(delivered, frame)
        if answer.error is not None:
            self._notice(f"no answer for {frame.name}: {answer.error}")
        self.summary.add(delivered, answer)
        self._emit(answer_line(delivered, frame, answer))

    def _answer(self, delivered: Deliver, frame: Frame) -> Answer:
        if delivered.result is None:
            return Answer(None, None, None, delivered.error)
        try:
            found = self._read(delivered.result)
            right = None
            if frame.truth is not None:
                right = self._runtime.score(found, frame.truth)
        except SplitnetError as error:
            return Answer(None, None, None, one_line(error))
        return Answer(found.labels, found.confidence, right, delivered.error, found.details)

    def _read(self, result: LocalResult | CloudResult) -> Reading:
        if isinstance(result, CloudResult):
            return self._runtime.decode_reply(result.payload, result.dims)
        assert isinstance(result.answer, Reading)
        return result.answer
