"""From chunks to requests that can run: what the worker accepts, and how long it waits for more.

A request with refinements can run as soon as its base is whole. It is held until all others are,
too, or until its budget leaves no more time than the worker needs; then it runs with those that are
whole. A refinement that is damaged is one that never arrives.

A request that wants partial replies waits for nothing: it runs with what is whole, and again with
more, one run at a time. What has arrived of it is kept in between, until all of it is answered, it
is cancelled, or its budget or its session ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import count
from math import inf
from typing import TypeAlias

from splitnet.bundle import Contract
from splitnet.codecs.making import count_parts
from splitnet.errors import WireCode
from splitnet.machines.batching import Work
from splitnet.machines.session import Assembly, Session
from splitnet.machines.sessions import Refusal
from splitnet.machines.waiting import Waiting
from splitnet.machines.worker_config import WorkerConfig
from splitnet.machines.worker_io import BatchItem
from splitnet.wire import Chunk, Infer, InferFlag, checksum

Outcome: TypeAlias = Work | Refusal | None
"""A request that can run, why it never will, or ``None`` while more of it is awaited."""

_NO_REPLY, _MORE_CHUNKS = int(InferFlag.NO_REPLY), int(InferFlag.MORE_CHUNKS)


class Intake:
    """Checks and joins what arrives of the requests of all sessions.

    Attributes
    ----------
    draining
        Whether new requests are refused.
    """

    def __init__(
        self, contracts: Mapping[int, Contract], config: WorkerConfig, counters: Counter[str]
    ) -> None:
        self._contracts = contracts
        self._config = config
        self._counters = counters
        tickets = count(1)
        self._held = Waiting(tickets)
        self._continued = Waiting(tickets)
        self.draining = False

    # --- requests that wait for refinements -----------------------------------------------------

    @property
    def due_s(self) -> float:
        """When the budget of the first request that is held ends, infinite if none is held."""
        return self._held.due_s

    def release(self, now_s: float, lead_s: float) -> list[Work]:
        """Return the requests held whose budget ends within `lead_s`, with what has arrived."""
        return [self._complete(*held) for held in self._held.take(now_s, lead_s)]

    # --- requests that want partial replies -----------------------------------------------------

    @property
    def partials_due_s(self) -> float:
        """When the first budget of a request that wants partial replies ends, infinite if never."""
        return self._continued.due_s

    def end_partials(self, now_s: float) -> list[Session]:
        """Forget such requests whose budgets are over; return the sessions that held them.

        One that runs is answered by that for good.
        """
        ended = []
        for session, assembly in self._continued.take(now_s):
            if assembly.running:
                assembly.closed = True
            else:
                session.abandon(assembly.infer.request)
                self._counters["unfinished"] += 1
                ended.append(session)
        return ended

    def drain(self) -> list[Work]:
        """Refuse what is new; return the requests that wait for more, to run as they are."""
        self.draining = True
        continued = [self.next_run(*waiting) for waiting in self._continued.take(inf)]
        return self.release(inf, 0.0) + [work for work in continued if work is not None]

    def next_run(self, session: Session, assembly: Assembly) -> Work | None:
        """Return the next run of such a request, ``None`` if one is under way or none is due."""
        whole = len(assembly.whole)
        last = assembly.closed or self.draining
        if assembly.running or (assembly.answered == whole and not last):
            return None
        self._counters["requests"] += not assembly.answered
        assembly.running, assembly.answered = True, whole
        return self._work(session, assembly, assembly.ticket)

    def ended_run(self, assembly: Assembly) -> bool:
        """Note that a run of such a request has ended; return whether it was the last one."""
        assembly.running = False
        whole = assembly.answered == len(assembly.whole)
        return whole and (assembly.closed or self.draining)

    # --- arrivals -------------------------------------------------------------------------------

    def begin(self, session: Session, infer: Infer, now_s: float) -> Outcome:
        """Take the first chunk of a request."""
        known = infer.request in session.assembling or infer.request in session.open_requests
        within = session.begin(infer, known)
        refusal = self._refusal(session, infer, known, within)
        if refusal is None:
            assembly = session.assembling[infer.request]
            return self._add(session, assembly, infer, not infer.flags & _MORE_CHUNKS, now_s)
        if not known:
            session.abandon(infer.request)
        return refusal

    def extend(self, session: Session, chunk: Chunk, now_s: float) -> Outcome:
        """Take a further chunk."""
        assembly = session.extend(chunk)
        if assembly is None:
            late = "late_refinements" if chunk.refinement else "stray_chunks"
            self._counters[late] += chunk.last or not chunk.refinement
            return None
        refusal = self._chunk_refusal(session, assembly, chunk)
        if refusal is not None:
            session.abandon(chunk.request)
            return refusal
        if chunk.refinement and not _intact(chunk):
            self._counters["damaged_refinements"] += 1
            assembly.closed = True
            if assembly.wants_partials:
                return self.next_run(session, assembly)
            return self._complete(session, assembly)
        return self._add(session, assembly, chunk, chunk.last, now_s)

    def _refusal(self, session: Session, infer: Infer, known: bool, within: bool) -> Refusal | None:
        """Return why a request is not accepted, ``None`` if it is."""
        contract = self._contracts.get(infer.contract)
        if infer.session != session.id:
            return WireCode.NO_SESSION, f"session {infer.session} is not this connection's"
        if known:
            return WireCode.MALFORMED, f"request {infer.request} is under way already"
        if not within:
            return WireCode.OVERLOAD, "more than the credit granted"
        if self.draining:
            return WireCode.DRAINING, "the worker is going away"
        if contract is None or infer.path >= len(contract.paths):
            return WireCode.UNKNOWN_PATH, f"contract {infer.contract} has no path {infer.path}"
        path = contract.paths[infer.path]
        if infer.level >= len(path.levels):
            return WireCode.UNKNOWN_PATH, f"path {path.id} has no level {infer.level}"
        if infer.stop != len(contract.segments):
            end = len(contract.segments)
            return WireCode.UNSUPPORTED, f"stop must be {end}, the end; got {infer.stop}"
        if infer.stream:
            return WireCode.UNSUPPORTED, "this worker keeps no streams"
        if infer.refinements > 1:
            most = count_parts(path.levels[infer.level].codecs[0])
            if infer.refinements > most:
                has = f"level {infer.level} of path {path.id} has {most}"
                return WireCode.MALFORMED, f"{infer.refinements} refinements announced, {has}"
        if len(infer.payload) > min(self._config.max_request_bytes, self._config.max_chunk_bytes):
            limit = min(self._config.max_request_bytes, self._config.max_chunk_bytes)
            return WireCode.TOO_LARGE, f"chunk 0 above the limit of {limit} bytes"
        if not _intact(infer):
            return WireCode.CORRUPT, "chunk 0 is damaged"
        return None

    def _chunk_refusal(self, session: Session, assembly: Assembly, chunk: Chunk) -> Refusal | None:
        """Return why a chunk ends its request, ``None`` if it does not."""
        due = len(assembly.whole), assembly.chunks
        if session.overdrawn():
            return WireCode.OVERLOAD, "more than the credit granted"
        if assembly.nbytes > self._config.max_request_bytes:
            limit = self._config.max_request_bytes
            return WireCode.TOO_LARGE, f"payload above the limit of {limit} bytes"
        if len(chunk.payload) > self._config.max_chunk_bytes:
            limit = self._config.max_chunk_bytes
            return WireCode.TOO_LARGE, f"chunk above the limit of {limit} bytes"
        if (chunk.refinement, chunk.index) != due:
            return WireCode.MALFORMED, (
                f"chunk {chunk.index} of refinement {chunk.refinement} is out of order: "
                f"chunk {due[1]} of refinement {due[0]} is next"
            )
        if not chunk.refinement and not _intact(chunk):
            return WireCode.CORRUPT, f"chunk {chunk.index} is damaged"
        return None

    # --- assembling -----------------------------------------------------------------------------

    def _add(
        self, session: Session, assembly: Assembly, piece: Infer | Chunk, last: bool, now_s: float
    ) -> Work | None:
        """Join a chunk that is whole and in order; return the request if it can and should run."""
        assembly.add(piece.payload)
        if not last:
            return None
        infer = assembly.infer
        assembly.end_refinement(session.heard_bytes, now_s)
        if len(assembly.whole) == 1:
            assembly.expires_s = now_s + infer.budget_us / 1e6 if infer.budget_us else inf
            if assembly.wants_partials:
                self._continued.add(session, assembly)
            elif infer.refinements > 1 and not self.draining:
                self._held.add(session, assembly)
        if assembly.wants_partials:
            return self.next_run(session, assembly)
        if not (assembly.closed or self.draining):
            return None
        return self._complete(session, assembly)

    def _complete(self, session: Session, assembly: Assembly) -> Work:
        """End the assembly of a request whose base is whole, and return its only run."""
        session.complete(assembly.infer.request)
        self._counters["requests"] += 1
        self._counters["early_requests"] += len(assembly.whole) < assembly.infer.refinements
        return self._work(session, assembly)

    def _work(self, session: Session, assembly: Assembly, ticket: int = 0) -> Work:
        """Return a run of all refinements that are whole."""
        infer = assembly.infer
        path = self._contracts[infer.contract].paths[infer.path]
        base, *refinements = assembly.whole
        return Work(
            session=session.id,
            request=infer.request,
            group=(infer.contract, path.hops[0].entry, infer.stop),
            item=BatchItem(path.id, infer.level, base, infer.dims, tuple(refinements)),
            arrived_s=assembly.arrived_s,
            expires_s=assembly.expires_s,
            stamp=infer.stamp,
            heard_bytes=assembly.heard_bytes,
            no_reply=bool(infer.flags & _NO_REPLY),
            ticket=ticket,
        )


def _intact(message: Infer | Chunk) -> bool:
    """Return whether a chunk's checksum fits its bytes."""
    return checksum(message.payload) == message.checksum
