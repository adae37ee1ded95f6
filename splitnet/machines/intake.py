"""From chunks to requests that can run: what the worker accepts, and how long it waits for more.

A request with refinements can run as soon as its base is whole. It is held until all others are,
too, or until its budget leaves no more time than the worker needs; then it runs with those that are
whole. A refinement that is damaged is one that never arrives.
"""

from __future__ import annotations

import heapq
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
from splitnet.machines.worker_config import WorkerConfig
from splitnet.machines.worker_io import BatchItem
from splitnet.wire import Chunk, Infer, InferFlag, checksum

Outcome: TypeAlias = Work | Refusal | None
"""A request that can run, why it never will, or ``None`` while more of it is awaited."""

Held: TypeAlias = tuple[float, int, Session, int]
"""End of its budget, ticket, session and number of a request that waits for refinements."""

TIDY_AT = 64
"""So many requests that wait no longer may be remembered, and as many as there are that wait."""

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
        self._held: list[Held] = []
        self._tickets = count(1)
        self._tidy_at = TIDY_AT
        self.draining = False

    # --- requests that wait for refinements -----------------------------------------------------

    @property
    def due_s(self) -> float:
        """When the budget of the first request that is held ends, infinite if none is held."""
        while self._held:
            if _is_held(self._held[0]):
                return self._held[0][0]
            heapq.heappop(self._held)
        return inf

    def release(self, now_s: float, lead_s: float) -> list[Work]:
        """Return the requests held whose budget ends within `lead_s`, with what has arrived."""
        released = []
        while self.due_s - lead_s <= now_s and self._held:
            _, _, session, request = heapq.heappop(self._held)
            released.append(self._work(session, session.assembling[request]))
        return released

    def _hold(self, session: Session, assembly: Assembly) -> None:
        """Let a request wait for refinements; forget those that do not any more now and then."""
        assembly.ticket = next(self._tickets)
        entry = assembly.expires_s, assembly.ticket, session, assembly.infer.request
        heapq.heappush(self._held, entry)
        if len(self._held) > self._tidy_at:
            self._held = list(filter(_is_held, self._held))
            heapq.heapify(self._held)
            self._tidy_at = 2 * len(self._held) + TIDY_AT

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
            return self._work(session, assembly)
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
            if infer.refinements > 1 and not self.draining:
                self._hold(session, assembly)
        if len(assembly.whole) < infer.refinements and not self.draining:
            return None
        return self._work(session, assembly)

    def _work(self, session: Session, assembly: Assembly) -> Work:
        """End the assembly of a request whose base is whole."""
        infer = assembly.infer
        path = self._contracts[infer.contract].paths[infer.path]
        session.complete(infer.request)
        base, *refinements = assembly.whole
        self._counters["requests"] += 1
        self._counters["early_requests"] += len(assembly.whole) < infer.refinements
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
        )


def _is_held(held: Held) -> bool:
    """Return whether a request has neither begun to run nor been given up."""
    _, ticket, session, request = held
    assembly = session.assembling.get(request)
    return assembly is not None and assembly.ticket == ticket


def _intact(message: Infer | Chunk) -> bool:
    """Return whether a chunk's checksum fits its bytes."""
    return checksum(message.payload) == message.checksum
