"""The driver of the worker machine: a ROUTER socket, an executor and nothing of Ray."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

from splitnet.cloud.announcing import Announcer
from splitnet.cloud.log_limit import LogLimit
from splitnet.errors import SplitnetError, WireCode, WireError, one_line
from splitnet.machines.worker import WorkerMachine
from splitnet.machines.worker_io import (
    BatchDone,
    ItemResult,
    PeerGarbled,
    PeerGone,
    PeerMessage,
    RunBatch,
    SendTo,
    WorkerAction,
    WorkerDrain,
    WorkerEvent,
    WorkerFinished,
    WorkerReport,
    WorkerTick,
)
from splitnet.runtime.executor import Done, Executor
from splitnet.runtime.worker import WorkerRuntime
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router
from splitnet.wire import decode, encode

log = logging.getLogger(__name__)

FAREWELL_S = 0.15
"""Time that devices have to read the last replies and the farewell.

libzmq throws away what a device has received but not read when its connection ends
(ZMQ_IMMEDIATE ends the pipe with the connection).
"""

LAST_WORDS_S = 1.0
"""Time that replies and farewells may take to leave the machine when the worker ends."""

SHORT_BATCHES = 8
"""Short batches in a row before the socket is looked at again."""

BatchOutcome: TypeAlias = "tuple[float, float, tuple[ItemResult, ...]]"


class CloudWorker:
    """Serves devices until `stop` is called; whoever hosts it gives it a reactor of its own.

    Parameters
    ----------
    runtimes
        What computes each contract, by the contract's handle.
    announcer
        Tells the directory of this worker, if there is one.
    """

    def __init__(
        self,
        machine: WorkerMachine,
        runtimes: Mapping[int, WorkerRuntime],
        reactor: Reactor,
        router: Router,
        announcer: Announcer | None = None,
    ) -> None:
        self._machine = machine
        self._announcer = announcer
        self._runtimes = runtimes
        self._reactor = reactor
        self._router = router
        self._executor: Executor[BatchOutcome] = Executor("splitnet-batches", reactor.wake)
        self._events: deque[WorkerEvent] = deque()
        self._warnings = LogLimit()
        self._batch: RunBatch | None = None
        self._stopping = False
        self._draining = False
        self._finished = False

    def stop(self) -> None:
        """Accept nothing more, answer what is queued, end (from any thread or signal handler)."""
        self._stopping = True
        self._reactor.wake()

    def run(self) -> None:
        """Serve; the router is open already, so that its endpoint is known before."""
        try:
            self._executor.start()
            while not self._finished:
                if self._stopping and not self._draining:
                    self._draining = True
                    if self._announcer is not None:
                        self._announcer.leave(time.monotonic())
                    self._handle(WorkerDrain())
                self._wait()
                self._take_messages()
                self._take_results()
            self._send_the_rest()
        finally:
            if self._announcer is not None:
                self._announcer.close(LAST_WORDS_S)
            self._executor.close()

    # --- what happens ---------------------------------------------------------------------------

    def _wait(self) -> None:
        if self._finished:
            return
        now_s = time.monotonic()
        wakeup_s, retry_s = self._machine.wakeup_s, self._router.retry_s
        timeouts = [] if wakeup_s is None else [wakeup_s - now_s]
        if retry_s is not None:
            timeouts.append(retry_s)
        if self._announcer is not None and not self._draining:
            timeouts.append(self._announcer.wakeup_s - now_s)
        self._reactor.wait(min(timeouts) if timeouts else None)
        if self._announcer is not None:
            self._announcer.step(self._machine.load, time.monotonic())
        for peer in self._router.flush():
            self._handle(PeerGone(peer))
        if wakeup_s is not None and time.monotonic() >= wakeup_s:
            self._handle(WorkerTick())

    def _take_messages(self) -> None:
        for peer, frames in self._router.receive():
            try:
                message = decode(frames)
            except WireError as error:
                self._handle(PeerGarbled(peer, error.wire_code, one_line(error)))
            else:
                self._handle(PeerMessage(peer, message))

    def _take_results(self) -> None:
        """Take what has ended; a short batch that follows has ended already, so look again."""
        for _ in range(SHORT_BATCHES):
            done = self._executor.take()
            if done is None:
                return
            self._handle(self._batch_done(done))

    def _batch_done(self, done: Done[BatchOutcome]) -> BatchDone:
        """Return the event for a batch; one that failed as a whole failed for each item."""
        batch, self._batch = self._batch, None
        assert batch is not None
        if done.value is not None:
            return BatchDone(done.job, *done.value)
        error = done.error
        assert error is not None
        code = WireCode.INTERNAL
        if isinstance(error, SplitnetError):
            code = error.wire_code
        else:
            log.error("batch=%d failed", done.job, exc_info=error)
        failure = ItemResult(None, code=code, message=one_line(error))
        return BatchDone(done.job, 0.0, done.duration_s, (failure,) * len(batch.items))

    # --- what is to be done ---------------------------------------------------------------------

    def _handle(self, event: WorkerEvent) -> None:
        self._events.append(event)
        while self._events:
            cause = self._events.popleft()
            for action in self._machine.handle(cause, time.monotonic()):
                self._do(action, cause)

    def _do(self, action: WorkerAction, cause: WorkerEvent) -> None:
        if isinstance(action, SendTo):
            if not self._router.send(action.peer, encode(action.message)):
                self._events.append(PeerGone(action.peer))
        elif isinstance(action, RunBatch):
            self._batch = action
            work = partial(self._runtimes[action.handle].run, action)
            self._executor.submit(action.batch, work, action.expected_s)
        elif isinstance(action, WorkerReport):
            self._log(action, cause)
        else:
            assert isinstance(action, WorkerFinished)
            self._finished = True

    def _log(self, report: WorkerReport, cause: WorkerEvent) -> None:
        """Log what an operator should read; a peer that causes many warnings gets few lines."""
        if not report.warning:
            log.info("%s %s", report.event, report.detail)
            return
        withheld = self._warnings.admit(getattr(cause, "peer", b""), time.monotonic())
        if withheld is not None:
            note = f" withheld={withheld}" if withheld else ""
            log.warning("%s %s%s", report.event, report.detail, note)

    def _send_the_rest(self) -> None:
        """Give devices that read slowly a last chance; libzmq lingers for the others."""
        end_s = time.monotonic() + LAST_WORDS_S
        while self._router.retry_s is not None and time.monotonic() < end_s:
            self._reactor.wait(self._router.retry_s)
            self._router.flush()
        if self._machine.sessions:
            time.sleep(FAREWELL_S)
