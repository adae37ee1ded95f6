"""The worker machine: sessions, credit, batches, replies. It knows nothing of sockets or of Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import inf
from typing import NamedTuple

from splitnet.bundle import Contract
from splitnet.errors import WireCode
from splitnet.machines.batching import Batcher, Work
from splitnet.machines.session import Assembly, Session, intact, is_complete
from splitnet.machines.sessions import Refusal, Sessions
from splitnet.machines.worker_config import WorkerConfig
from splitnet.machines.worker_io import (
    BatchDone,
    BatchItem,
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
    InferFlag,
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


_NO_REPLY = int(InferFlag.NO_REPLY)


def microseconds(duration_s: float) -> int:
    """Return a duration as the wire carries it."""
    return min(max(0, round(1e6 * duration_s)), MAX_MICROSECONDS)


class Running(NamedTuple):
    """The batch under way, when it began and when it should end."""

    number: int
    batch: tuple[Work, ...]
    started_s: float
    ends_s: float


class WorkerMachine:
    """Serves the paths of its contracts to every agent that has a session."""

    def __init__(self, contracts: Mapping[int, Contract], config: WorkerConfig, epoch: int) -> None:
        self._contracts = contracts
        self._config = config
        self._sessions = Sessions(contracts, config, epoch)
        self._batcher = Batcher(config.max_batch)
        self._running: Running | None = None
        self._last_batch = 0
        self._busy = 0.0
        self._idle_since_s = 0.0
        self._draining = False
        self._finished = False
        self._out: list[WorkerAction] = []
        self.counters: Counter[str] = Counter()

    # --- what a driver asks ---------------------------------------------------------------------

    @property
    def wakeup_s(self) -> float | None:
        """When to send the next `WorkerTick`, ``None`` if there is nothing to wait for."""
        wakeup_s = min(self._sessions.due_s, self._batcher.due_s)
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
        if now_s >= self._sessions.due_s:
            self._tend_sessions(now_s)
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
        if isinstance(message, Infer):
            self._on_infer(session, message, now_s)
        elif isinstance(message, Chunk):
            self._on_chunk(session, message, now_s)
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
        self.counters["purged"] += len(purged) + len(session.assembling)
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

    def _on_infer(self, session: Session, infer: Infer, now_s: float) -> None:
        known = infer.request in session.assembling or infer.request in session.open_requests
        within = session.begin(infer, known)
        refusal = self._refusal(session, infer, known, within)
        if refusal is None:
            self._advance(session, session.assembling[infer.request], is_complete(infer), now_s)
            return
        if not known:
            session.abandon(infer.request)
        self._fail(session.peer, infer.request, *refusal)

    def _refusal(self, session: Session, infer: Infer, known: bool, within: bool) -> Refusal | None:
        """Return why a request is not accepted, ``None`` if it is."""
        contract = self._contracts.get(infer.contract)
        if infer.session != session.id:
            return WireCode.NO_SESSION, f"session {infer.session} is not this connection's"
        if known:
            return WireCode.MALFORMED, f"request {infer.request} is under way already"
        if not within:
            return WireCode.OVERLOAD, "more than the credit granted"
        if self._draining:
            return WireCode.DRAINING, "the worker is going away"
        if contract is None or infer.path >= len(contract.paths):
            return WireCode.UNKNOWN_PATH, f"contract {infer.contract} has no path {infer.path}"
        path = contract.paths[infer.path]
        if infer.level >= len(path.levels):
            return WireCode.UNKNOWN_PATH, f"path {path.id} has no level {infer.level}"
        if infer.stop != len(contract.segments):
            end = len(contract.segments)
            return WireCode.UNSUPPORTED, f"stop must be {end}, the end; got {infer.stop}"
        if infer.stream or infer.refinements != 1:
            return WireCode.UNSUPPORTED, "this worker keeps no streams and takes one refinement"
        if len(infer.payload) > min(self._config.max_request_bytes, self._config.max_chunk_bytes):
            limit = min(self._config.max_request_bytes, self._config.max_chunk_bytes)
            return WireCode.TOO_LARGE, f"chunk 0 above the limit of {limit} bytes"
        if not intact(infer):
            return WireCode.CORRUPT, "chunk 0 is damaged"
        return None

    def _on_chunk(self, session: Session, chunk: Chunk, now_s: float) -> None:
        assembly = session.extend(chunk)
        if assembly is None:
            self.counters["stray_chunks"] += 1
            return
        problem: Refusal | None = None
        if session.overdrawn():
            problem = WireCode.OVERLOAD, "more than the credit granted"
        elif assembly.nbytes > self._config.max_request_bytes:
            limit = self._config.max_request_bytes
            problem = WireCode.TOO_LARGE, f"payload above the limit of {limit} bytes"
        elif len(chunk.payload) > self._config.max_chunk_bytes:
            limit = self._config.max_chunk_bytes
            problem = WireCode.TOO_LARGE, f"chunk above the limit of {limit} bytes"
        elif chunk.refinement != 0 or chunk.index != len(assembly.parts) - 1:
            problem = WireCode.MALFORMED, f"chunk {chunk.index} out of order"
        elif not intact(chunk):
            problem = WireCode.CORRUPT, f"chunk {chunk.index} is damaged"
        if problem is None:
            self._advance(session, assembly, chunk.last, now_s)
        else:
            session.abandon(chunk.request)
            self._fail(session.peer, chunk.request, *problem)

    def _advance(self, session: Session, assembly: Assembly, complete: bool, now_s: float) -> None:
        """Queue a request once its payload is complete."""
        if not complete:
            return
        infer = assembly.infer
        contract = self._contracts[infer.contract]
        path = contract.paths[infer.path]
        payload = session.complete(infer.request)
        self.counters["requests"] += 1
        self._batcher.put(
            Work(
                session=session.id,
                request=infer.request,
                group=(infer.contract, path.hops[0].entry, infer.stop),
                item=BatchItem(path.id, infer.level, payload, infer.dims),
                arrived_s=now_s,
                expires_s=now_s + infer.budget_us / 1e6 if infer.budget_us else inf,
                stamp=infer.stamp,
                heard_bytes=session.heard_bytes,
                no_reply=bool(infer.flags & _NO_REPLY),
            )
        )

    def _on_cancel(self, session: Session, cancel: Cancel) -> None:
        def cancelled(work: Work) -> bool:
            return work.session == session.id and work.request == cancel.request

        removed = self._batcher.remove(cancelled)
        found = bool(removed) or cancel.request in session.assembling
        session.abandon(cancel.request)
        for work in removed:
            session.finish(work.request)
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
            session.finish(work.request)
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
        load = self.load
        for work, result in zip(batch, event.results, strict=True):
            session = self._sessions.get(work.session)
            if session is None:
                self.counters["orphaned_replies"] += 1
                continue
            session.finish(work.request)
            self._answer(session, work, result, event, started_s, load)
            self._renew_credit(session)

    def _answer(
        self,
        session: Session,
        work: Work,
        result: ItemResult,
        event: BatchDone,
        started_s: float,
        load: Load,
    ) -> None:
        if result.payload is None:
            self._fail(session.peer, work.request, result.code, result.message)
            return
        nbytes = len(result.payload)
        if nbytes > session.max_reply_bytes:
            detail = f"reply of {nbytes} bytes, the agent takes {session.max_reply_bytes}"
            self._fail(session.peer, work.request, WireCode.REPLY_TOO_LARGE, detail)
            return
        self.counters["replies"] += 1
        if work.no_reply:
            return
        self._send(
            session,
            Reply(
                request=work.request,
                number=0,
                final=True,
                refinements=1,
                state=0,
                queue_us=microseconds(started_s - work.arrived_s),
                decode_us=microseconds(event.decode_s),
                run_us=microseconds(event.run_s),
                load=load,
                stamp=work.stamp,
                dims=result.dims,
                codec=0,
                checksum=checksum(result.payload),
                payload=result.payload,
            ),
        )
        self._sessions.replied(session, work.heard_bytes)

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
