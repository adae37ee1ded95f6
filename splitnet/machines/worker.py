"""The worker machine: sessions, credit, batches, replies. It knows nothing of sockets or of Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import inf
from typing import NamedTuple

from splitnet.bundle import Contract
from splitnet.errors import WireCode
from splitnet.machines.batching import Batcher, Work
from splitnet.machines.intake import Intake
from splitnet.machines.session import Session
from splitnet.machines.sessions import Sessions
from splitnet.machines.worker_config import WorkerConfig
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
)
from splitnet.values import Load
from splitnet.wire import (
    Bye,
    Cancel,
    CancelAck,
    Chunk,
    Error,
    Hello,
    Infer,
    Message,
    Ping,
    Pong,
    Probe,
    Reply,
    checksum,
    size,
)

__all__ = ["WorkerConfig", "WorkerMachine"]

MAX_MICROSECONDS = (1 << 32) - 1
"""Durations on the wire end here; longer ones are clamped (docs/wire.md)."""

SPARE_S = 0.01
"""Spare time of a request whose refinements do not come: a timer may be late, a batch slow."""


def microseconds(duration_s: float) -> int:
    """Return a duration as the wire carries it."""
    return min(max(0, round(1e6 * duration_s)), MAX_MICROSECONDS)


class Running(NamedTuple):
    """The batch under way, when it began and when it should end."""

    number: int
    batch: tuple[Work, ...]
    started_s: float
    ends_s: float


class Run(NamedTuple):
    """What all replies to a batch say: when it began, what it took, the worker's load."""

    started_s: float
    decode_us: int
    run_us: int
    load: Load


class WorkerMachine:
    """Serves the paths of its contracts to every agent that has a session."""

    def __init__(self, contracts: Mapping[int, Contract], config: WorkerConfig, epoch: int) -> None:
        self._config = config
        self._sessions = Sessions(contracts, config, epoch)
        self.counters: Counter[str] = Counter()
        self._intake = Intake(contracts, config, self.counters)
        self._batcher = Batcher(config.max_batch)
        self._running: Running | None = None
        self._last_batch = 0
        self._busy = 0.0
        self._idle_since_s = 0.0
        self._draining = False
        self._finished = False
        self._out: list[WorkerAction] = []

    # --- what a driver asks ---------------------------------------------------------------------

    @property
    def wakeup_s(self) -> float | None:
        """When to send the next `WorkerTick`, ``None`` if there is nothing to wait for."""
        intake_s = min(self._held_until_s, self._intake.partials_due_s)
        wakeup_s = min(self._sessions.due_s, self._batcher.due_s, intake_s)
        return None if wakeup_s == inf else wakeup_s

    @property
    def sessions(self) -> int:
        """Number of open sessions."""
        return len(self._sessions)

    @property
    def load(self) -> Load:
        """What replies and pongs say of this worker."""
        running = len(self._running.batch) if self._running else 0
        return Load(
            queued=len(self._batcher),
            wait_us=microseconds(self._batcher.wait_s(running)),
            busy_permille=round(1000 * self._busy),
            batch=running,
        )

    @property
    def _held_until_s(self) -> float:
        """When the first request that waits for refinements must run, infinite if none does."""
        due_s = self._intake.due_s
        return due_s if due_s == inf else due_s - self._lead_s

    @property
    def _lead_s(self) -> float:
        """How long before the end of its budget a request must begin to wait for its batch."""
        running = len(self._running.batch) if self._running else 0
        return self._batcher.wait_s(running) + self._batcher.service_s + SPARE_S

    # --- events ---------------------------------------------------------------------------------

    def handle(self, event: WorkerEvent, now_s: float) -> list[WorkerAction]:
        """Take one event at `now_s` and return what to do, in order."""
        if self._finished:
            return []
        self._out = []
        if isinstance(event, PeerMessage):
            self._on_message(event.peer, event.message, now_s)
        elif isinstance(event, BatchDone):
            self._on_batch_done(event, now_s)
        elif isinstance(event, PeerGarbled):
            self.counters["garbled"] += 1
            self._fail(event.peer, 0, event.code, event.reason)
        elif isinstance(event, PeerGone):
            self._forget(self._sessions.of_peer(event.peer), "unreachable")
        elif isinstance(event, WorkerDrain):
            self._draining = True
            self._queue(self._intake.drain())
        if now_s >= self._sessions.due_s:
            self._tend_sessions(now_s)
        if now_s >= self._held_until_s:
            self._queue(self._intake.release(now_s, self._lead_s))
        if now_s >= self._intake.partials_due_s:
            for session in self._intake.end_partials(now_s):
                self._renew_credit(session)
        if len(self._batcher):
            self._drop_hopeless(now_s)
            self._run_next(now_s)
        if self._draining:
            self._finish_drain()
        return self._out

    def _on_message(self, peer: bytes, message: Message, now_s: float) -> None:
        if isinstance(message, Hello):
            self._greet(peer, message, now_s)
            return
        session = self._sessions.of_peer(peer)
        if session is None:
            request = message.request if isinstance(message, Infer | Chunk | Cancel) else 0
            self._fail(peer, request, WireCode.NO_SESSION, "say hello first")
            return
        self._sessions.hear(session, size(message), now_s)
        if isinstance(message, Infer | Chunk):
            self._on_piece(session, message, now_s)
        elif isinstance(message, Cancel):
            self._on_cancel(session, message)
        elif isinstance(message, Ping | Probe):
            self._send(session, Pong(message.number, message.stamp, self.load))
        elif isinstance(message, Bye):
            self._forget(session, "bye")
        else:
            kind = type(message).__name__.lower()
            self._fail(peer, 0, WireCode.UNSUPPORTED, f"a worker does not answer {kind}")
        self._renew_credit(session)

    # --- sessions -------------------------------------------------------------------------------

    def _greet(self, peer: bytes, hello: Hello, now_s: float) -> None:
        refusal = self._sessions.refusal(hello)
        if refusal is not None:
            self._fail(peer, 0, *refusal)
            return
        self._forget(self._sessions.of_peer(peer), "greeted again")
        if self._draining or len(self._sessions) >= self._config.max_sessions:
            code = WireCode.DRAINING if self._draining else WireCode.OVERLOAD
            self._fail(peer, 0, code, "no new sessions now")
            return
        session, welcome = self._sessions.open(peer, hello, now_s)
        self.counters["sessions"] += 1
        detail = f"session={session.id} device={session.device!r}"
        self._out.append(WorkerReport("session-open", detail))
        self._send(session, welcome)

    def _forget(self, session: Session | None, reason: str) -> None:
        """End a session: nothing of it may occupy the worker any longer."""
        if session is None:
            return
        self._sessions.close(session)
        purged = self._batcher.remove(lambda work: work.session == session.id)
        complete = sum(not work.ticket for work in purged)
        self.counters["purged"] += complete + len(session.assembling)
        session.assembling.clear()
        detail = f"session={session.id} device={session.device!r} reason={reason!r}"
        self._out.append(WorkerReport("session-closed", f"{detail} purged={len(purged)}"))

    def _tend_sessions(self, now_s: float) -> None:
        """Forget who is silent, and tell the others how far their bytes have come."""
        for session in self._sessions.silent(now_s):
            self._forget(session, "silent")
        for session, ack in self._sessions.acknowledge(now_s):
            self._send(session, ack)

    def _renew_credit(self, session: Session) -> None:
        credit = self._sessions.renew(session)
        if credit is not None:
            self._send(session, credit)

    # --- requests -------------------------------------------------------------------------------

    def _on_piece(self, session: Session, message: Infer | Chunk, now_s: float) -> None:
        """Take a piece of a request, and queue the request if it can run."""
        if isinstance(message, Infer):
            outcome = self._intake.begin(session, message, now_s)
        else:
            outcome = self._intake.extend(session, message, now_s)
        if isinstance(outcome, Work):
            self._batcher.put(outcome)
        elif outcome is not None:
            self._fail(session.peer, message.request, *outcome)

    def _queue(self, released: list[Work]) -> None:
        """Queue requests that have waited for refinements as long as they can."""
        for work in released:
            self._batcher.put(work)

    def _on_cancel(self, session: Session, cancel: Cancel) -> None:
        def cancelled(work: Work) -> bool:
            return work.session == session.id and work.request == cancel.request

        removed = self._batcher.remove(cancelled)
        found = bool(removed) or cancel.request in session.assembling
        session.abandon(cancel.request)
        for work in removed:
            _end(session, work)
        self.counters["cancelled"] += found
        self._send(session, CancelAck(cancel.request, found))

    def _drop_hopeless(self, now_s: float) -> None:
        """Drop work that cannot end within its budget before it costs a batch anything."""
        running = self._running
        free_s = now_s if running is None else max(now_s, running.ends_s)
        for work in self._batcher.drop_hopeless(free_s, idle=running is None):
            self.counters["expired"] += 1
            session = self._sessions.get(work.session)
            assert session is not None, "the work of a closed session is purged"
            _end(session, work)
            self._fail(session.peer, work.request, WireCode.EXPIRED, "no time left in its budget")
            self._renew_credit(session)

    # --- batches --------------------------------------------------------------------------------

    def _run_next(self, now_s: float) -> None:
        if self._running is not None:
            return
        batch = self._batcher.take(now_s)
        if not batch:
            return
        self._last_batch += 1
        handle, entry, stop = batch[0].group
        items = tuple(work.item for work in batch)
        self.counters["batches"] += 1
        expected_s = self._batcher.service_s * len(batch)
        self._running = Running(self._last_batch, batch, now_s, now_s + expected_s)
        self._out.append(RunBatch(self._last_batch, handle, entry, stop, items, expected_s))

    def _on_batch_done(self, event: BatchDone, now_s: float) -> None:
        running = self._running
        if running is None or running.number != event.batch:
            return
        self._running = None
        batch, started_s = running.batch, running.started_s
        self._batcher.learn(now_s - started_s, len(batch))
        self._note_busy(started_s, now_s)
        run = Run(started_s, microseconds(event.decode_s), microseconds(event.run_s), self.load)
        for work, result in zip(batch, event.results, strict=True):
            session = self._sessions.get(work.session)
            if session is None:
                self.counters["orphaned_replies"] += 1
                continue
            if work.ticket:
                self._answer_so_far(session, work, result, run)
            else:
                session.finish(work.request)
                self._answer(session, work, result, run)
            self._renew_credit(session)

    def _answer_so_far(self, session: Session, work: Work, result: ItemResult, run: Run) -> None:
        """Answer a request that wants partial replies; if more of it has come, run it again."""
        assembly = session.assembly(work.request, work.ticket)
        if assembly is None:
            self.counters["unwanted_replies"] += 1
            return
        final = self._intake.ended_run(assembly)
        number, assembly.replies = assembly.replies, assembly.replies + 1
        answered = self._answer(session, work, result, run, number, final)
        if final or not answered:
            session.abandon(work.request)
            return
        again = self._intake.next_run(session, assembly)
        if again is not None:
            self._batcher.put(again)

    def _answer(
        self,
        session: Session,
        work: Work,
        result: ItemResult,
        run: Run,
        number: int = 0,
        final: bool = True,
    ) -> bool:
        """Send a reply, or an error that ends the request; return whether it was a reply."""
        if result.payload is None:
            self._fail(session.peer, work.request, result.code, result.message)
            return False
        nbytes = len(result.payload)
        if nbytes > session.max_reply_bytes:
            detail = f"reply of {nbytes} bytes, the agent takes {session.max_reply_bytes}"
            self._fail(session.peer, work.request, WireCode.REPLY_TOO_LARGE, detail)
            return False
        self.counters["replies" if final else "partial_replies"] += 1
        if work.no_reply:
            return True
        self._send(
            session,
            Reply(
                request=work.request,
                number=number,
                final=final,
                refinements=1 + len(work.item.refinements),
                state=0,
                queue_us=microseconds(run.started_s - work.arrived_s),
                decode_us=run.decode_us,
                run_us=run.run_us,
                load=run.load,
                stamp=work.stamp,
                dims=result.dims,
                codec=0,
                checksum=checksum(result.payload),
                payload=result.payload,
            ),
        )
        self._sessions.replied(session, work.heard_bytes)
        return True

    def _note_busy(self, started_s: float, now_s: float) -> None:
        """Smooth the share of time that the executor is busy over about a second."""
        idle_s, busy_s = max(0.0, started_s - self._idle_since_s), now_s - started_s
        self._idle_since_s = now_s
        span_s = idle_s + busy_s
        if span_s > 0:
            weight = min(1.0, span_s)
            self._busy += weight * (busy_s / span_s - self._busy)

    # --- sending --------------------------------------------------------------------------------

    def _send(self, session: Session, message: Message) -> None:
        self._out.append(SendTo(session.peer, message))

    def _fail(self, peer: bytes, request: int, code: WireCode, detail: str) -> None:
        self.counters[f"refused_{code.name.lower()}"] += 1
        retry = code in (WireCode.OVERLOAD, WireCode.DRAINING)
        self._out.append(
            SendTo(peer, Error(request, code, self._config.retry_after_ms if retry else 0, detail))
        )
        report = f"request={request} code={code.name.lower()} detail={detail!r}"
        self._out.append(WorkerReport("refused", report, warning=request == 0))

    def _finish_drain(self) -> None:
        if self._running or len(self._batcher):
            return
        for session in self._sessions:
            self._send(session, Bye(WireCode.DRAINING, "the worker is going away"))
        self._finished = True
        self._out.append(WorkerFinished())


def _end(session: Session, work: Work) -> None:
    """Give back the credit of a request that is taken out of the queue."""
    if work.ticket:
        session.abandon(work.request)
    else:
        session.finish(work.request)
