"""What the worker knows of one connected agent: credit, payloads under assembly, liveness."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from splitnet.wire import (
    Chunk,
    Credit,
    Infer,
    InferFlag,
    Payload,
    ProgressAck,
    join,
)

ACK_BYTES, ACK_S = 8192, 0.02
"""Bytes received are acknowledged in such steps, or after so long (docs/wire.md, ProgressAck)."""

_NO_REPLY, _WANT_PARTIALS = int(InferFlag.NO_REPLY), int(InferFlag.WANT_PARTIALS)


@dataclass(slots=True, eq=False)
class Assembly:
    """A request of which more may arrive.

    Attributes
    ----------
    nbytes
        Payload bytes that have arrived.
    whole
        The refinements that are complete.
    chunks
        How many chunks of the refinement behind these have arrived.
    arrived_s, heard_bytes
        When the last of these was complete, and what had arrived of its session by then.
    expires_s
        When the request's budget ends, which begins with the first of these.
    ticket
        Names this assembly among those that wait for refinements, 0 if it does not.
    answered
        Of how many refinements the run under way or the latest one is made.
    replies
        How many partial replies have been sent.
    running
        Whether it is in the queue or in a batch while more of it may arrive.
    closed
        Whether nothing that arrives now counts any more.
    """

    infer: Infer
    nbytes: int
    whole: list[Payload] = field(default_factory=list)
    chunks: int = 0
    arrived_s: float = inf
    heard_bytes: int = 0
    expires_s: float = inf
    ticket: int = 0
    answered: int = 0
    replies: int = 0
    running: bool = False
    closed: bool = False
    _pieces: list[Payload] = field(default_factory=list)

    def add(self, payload: Payload) -> None:
        """Take the next chunk of the refinement that is arriving."""
        self.chunks += 1
        self._pieces.append(payload)

    def end_refinement(self, heard_bytes: int, now_s: float) -> None:
        """Note that the refinement that was arriving is complete."""
        self.whole.append(join(self._pieces))
        self.chunks, self._pieces = 0, []
        self.arrived_s, self.heard_bytes = now_s, heard_bytes
        self.closed = len(self.whole) >= self.infer.refinements

    @property
    def wants_partials(self) -> bool:
        """Whether every refinement that is complete is to be answered."""
        wanted = self.infer.flags & (_WANT_PARTIALS | _NO_REPLY) == _WANT_PARTIALS
        return wanted and self.infer.refinements > 1


@dataclass(slots=True)
class Session:
    """A session that the worker issued; credit is cumulative and counted from its beginning.

    Attributes
    ----------
    granted_requests, granted_bytes
        The grant last told to the agent.
    received_requests, received_bytes
        What the agent has spent of it.
    released_requests, released_bytes
        What is over and done with; the next grant is this plus the window.
    open_requests
        Requests that were accepted and not answered yet.
    heard_bytes, acked_bytes
        Bytes of all messages received on this connection, and the count last told to the agent.
    ack_due_s
        When the next count is due at the latest, infinite if there is nothing new.
    """

    id: int
    peer: bytes
    device: str
    max_reply_bytes: int
    heard_s: float
    granted_requests: int
    granted_bytes: int
    received_requests: int = 0
    received_bytes: int = 0
    released_requests: int = 0
    released_bytes: int = 0
    assembling: dict[int, Assembly] = field(default_factory=dict)
    open_requests: dict[int, int] = field(default_factory=dict)
    heard_bytes: int = 0
    acked_bytes: int = 0
    ack_due_s: float = inf

    def hear(self, nbytes: int, now_s: float) -> None:
        """Count a message of `nbytes`, head included."""
        self.heard_s = now_s
        self.heard_bytes += nbytes
        if self.heard_bytes - self.acked_bytes >= ACK_BYTES:
            self.ack_due_s = now_s
        else:
            self.ack_due_s = min(self.ack_due_s, now_s + ACK_S)

    def acknowledge(self, now_s: float) -> ProgressAck | None:
        """Return the count of bytes received if it is due."""
        if now_s < self.ack_due_s:
            return None
        self.ack_due_s = inf
        self.acked_bytes = self.heard_bytes
        return ProgressAck(self.heard_bytes)

    def told(self, heard_bytes: int) -> bool:
        """Note that the agent knows of so many bytes; return whether it knows of all."""
        self.acked_bytes = max(self.acked_bytes, heard_bytes)
        if self.acked_bytes < self.heard_bytes:
            return False
        self.ack_due_s = inf
        return True

    def begin(self, infer: Infer, known: bool) -> bool:
        """Take chunk 0 of a request, not `known` so far; return whether the credit covers it."""
        self.received_requests += 1
        self.received_bytes += len(infer.payload)
        within = not self.overdrawn()
        if within and not known:
            self.assembling[infer.request] = Assembly(infer, len(infer.payload))
        else:
            self.release(1, len(infer.payload))
        return within

    def assembly(self, request: int, ticket: int) -> Assembly | None:
        """Return the assembly of `request` with this ticket, ``None`` if it has ended."""
        assembly = self.assembling.get(request)
        return None if assembly is None or assembly.ticket != ticket else assembly

    def extend(self, chunk: Chunk) -> Assembly | None:
        """Take a further chunk; return its assembly, ``None`` if it is not wanted."""
        self.received_bytes += len(chunk.payload)
        assembly = self.assembling.get(chunk.request)
        if assembly is None or assembly.closed:
            self.release(0, len(chunk.payload))
            return None
        assembly.nbytes += len(chunk.payload)
        return assembly

    def overdrawn(self) -> bool:
        """Return whether the agent has sent more than it was granted."""
        return (
            self.received_requests > self.granted_requests
            or self.received_bytes > self.granted_bytes
        )

    def complete(self, request: int) -> None:
        """End the assembly of `request`: it will be answered."""
        self.open_requests[request] = self.assembling.pop(request).nbytes

    def abandon(self, request: int) -> None:
        """Forget a request that was being assembled."""
        assembly = self.assembling.pop(request, None)
        if assembly is not None:
            self.release(1, assembly.nbytes)

    def finish(self, request: int) -> None:
        """Note that an accepted request was answered, whatever the answer."""
        self.release(1, self.open_requests.pop(request))

    def release(self, requests: int, nbytes: int) -> None:
        """Count requests and bytes that no longer occupy the worker."""
        self.released_requests += requests
        self.released_bytes += nbytes

    def renew(self, window_requests: int, window_bytes: int, request_bytes: int) -> Credit | None:
        """Return a new grant once half of the window is free again.

        Sooner, if what is left of the old one would not cover a request of `request_bytes`, the
        largest that is accepted: an agent with nothing else under way would wait for ever.
        """
        requests = self.released_requests + window_requests
        nbytes = self.released_bytes + window_bytes
        short = self.granted_bytes - self.received_bytes < request_bytes
        if (
            2 * (requests - self.granted_requests) < window_requests
            and 2 * (nbytes - self.granted_bytes) < window_bytes
            and not (short and nbytes > self.granted_bytes)
        ):
            return None
        self.granted_requests = max(requests, self.granted_requests)
        self.granted_bytes = max(nbytes, self.granted_bytes)
        return Credit(self.granted_requests, self.granted_bytes)
