"""What one session may send: payloads in chunks, inside the credit and the pacing window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from splitnet.machines.pacing import FIRST_CHUNK_BYTES, Pacer
from splitnet.values import RequestClass
from splitnet.wire import (
    Cancel,
    Chunk,
    Credit,
    Infer,
    InferFlag,
    Message,
    Payload,
    ProgressAck,
    Welcome,
    checksum,
    size,
)

_WANT_PARTIALS, _MORE_CHUNKS = int(InferFlag.WANT_PARTIALS), int(InferFlag.MORE_CHUNKS)

STAMP_MODULUS = 1 << 32
"""Stamps are microseconds modulo 2**32."""


def stamp(now_s: float) -> int:
    """Return the time as the wire carries it."""
    return int(now_s * 1e6) % STAMP_MODULUS


def elapsed_s(now_s: float, echoed: int) -> float:
    """Return the time since `echoed` was stamped."""
    return ((stamp(now_s) - echoed) % STAMP_MODULUS) / 1e6


@dataclass(slots=True, eq=False)
class _Outgoing:
    """The refinements of a payload that have not left; `infer` makes its head.

    Of the first of these, number `refinement`, `offset` bytes have left, in `chunks` chunks. Those
    from number `held` on wait until they are asked for.
    """

    request: int
    infer: Callable[..., Infer]
    parts: Sequence[Payload]
    held: int
    refinement: int = 0
    offset: int = 0
    chunks: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that have not left."""
        return sum(map(len, self.parts[self.refinement :])) - self.offset

    def next_part(self) -> bool:
        """Go on with the next refinement if there is one that may leave."""
        self.refinement += 1
        self.offset = self.chunks = 0
        return self.refinement < self.held


class Uplink:
    """The sending side of one session; it dies with the session."""

    def __init__(
        self, welcome: Welcome, max_chunk_bytes: int, first_chunk_bytes: int = FIRST_CHUNK_BYTES
    ) -> None:
        self.session = welcome.session
        self.pacer = Pacer(first_chunk_bytes)
        self._handles = welcome.handles
        self._max_request_bytes = welcome.max_request_bytes
        self.max_chunk_bytes = max(1, min(max_chunk_bytes, welcome.max_chunk_bytes))
        self._granted_requests = welcome.credit_requests
        self._granted_bytes = welcome.credit_bytes
        self._used_requests = 0
        self._used_bytes = 0
        self._outbox: deque[_Outgoing] = deque()
        self._held: dict[int, _Outgoing] = {}
        self._ends_bytes: dict[int, list[int]] = {}

    def serves(self, path: int) -> bool:
        """Whether the worker accepts path number `path` of the hello."""
        return self._handles[path] is not None

    @property
    def waiting(self) -> bool:
        """Whether something that may leave has not left yet."""
        return bool(self._outbox)

    def takes(self, nbytes: int) -> bool:
        """Whether the worker takes requests of this size at all."""
        return nbytes <= self._max_request_bytes

    def has_credit(self, nbytes: int) -> bool:
        """Whether a request of `nbytes` may be queued now."""
        return (
            self._used_requests < self._granted_requests
            and self._used_bytes + nbytes <= self._granted_bytes
        )

    def on_credit(self, credit: Credit) -> None:
        """Take a new grant; a grant is never lowered."""
        self._granted_requests = max(self._granted_requests, credit.requests)
        self._granted_bytes = max(self._granted_bytes, credit.bytes)

    def on_ack(self, ack: ProgressAck, now_s: float) -> None:
        """Take what the worker has received."""
        self.pacer.on_ack(ack.received_bytes, now_s)

    def on_reply(self, request: int, refinements: int, now_s: float, final: bool = True) -> None:
        """Take a reply as an acknowledgement of all that was sent up to what it is made of."""
        ends_bytes = self._ends_bytes.get(request)
        if final:
            self._ends_bytes.pop(request, None)
        if ends_bytes is not None:
            last = min(refinements, len(ends_bytes)) - 1
            self.pacer.on_ack(ends_bytes[last], now_s, prompt=False)

    def put(
        self,
        path: int,
        parts: Sequence[Payload],
        *,
        request: int,
        level: int,
        stop: int,
        request_class: RequestClass,
        budget_us: int,
        dims: tuple[int, ...],
        one_by_one: bool = False,
    ) -> None:
        """Queue the refinements of a request and spend their credit (see `has_credit`).

        With `one_by_one` only the base may leave, and each other one when `go_on` asks for it.
        """
        handle = self._handles[path]
        assert handle is not None
        self._used_requests += 1
        self._used_bytes += sum(map(len, parts))
        infer = partial(
            Infer,
            session=self.session,
            request=request,
            contract=handle[0],
            path=handle[1],
            level=level,
            stop=stop,
            request_class=request_class,
            budget_us=budget_us,
            stream=0,
            state=0,
            refinements=len(parts),
            dims=dims,
        )
        held = 1 if one_by_one else len(parts)
        self._outbox.append(_Outgoing(request, infer, parts, held))

    def go_on(self, request: int) -> None:
        """Let the next refinement of a request leave, if there is one that is held."""
        outgoing = self._held.pop(request, None)
        if outgoing is not None:
            outgoing.held += 1
            self._outbox.append(outgoing)

    def pump(self, rtt_s: float, goodput_bps: float | None, now_s: float) -> list[Infer | Chunk]:
        """Return the chunks that may leave now: the bases of all requests, then refinements."""
        messages: list[Infer | Chunk] = []
        window_bytes = self.pacer.window_bytes(rtt_s)
        modest_bytes = min(window_bytes, self.pacer.modest_window_bytes(rtt_s))
        limit = self.pacer.chunk_bytes(goodput_bps, self.max_chunk_bytes)
        while self._outbox:
            outgoing = self._next_outgoing()
            within = modest_bytes if outgoing.refinement else window_bytes
            if self.pacer.unacked_bytes >= within:
                break
            message = self._next_chunk(outgoing, limit, now_s)
            self.pacer.on_sent(size(message), now_s, app_limited=not self._outbox)
            refinement = message.refinement if isinstance(message, Chunk) else 0
            ends_bytes = self._ends_bytes.setdefault(message.request, [])
            ends_bytes[refinement:] = [self.pacer.sent_bytes]
            messages.append(message)
        return messages

    def _next_outgoing(self) -> _Outgoing:
        """Return the first request whose base has not left, or the first one."""
        first = self._outbox[0]
        if not first.refinement:
            return first
        return next((queued for queued in self._outbox if not queued.refinement), first)

    def _next_chunk(self, outgoing: _Outgoing, limit: int, now_s: float) -> Infer | Chunk:
        number = outgoing.refinement
        payload = outgoing.parts[number]
        part = payload
        if outgoing.offset or len(part) > limit:
            part = part[outgoing.offset : outgoing.offset + limit]
        outgoing.offset += len(part)
        index, outgoing.chunks = outgoing.chunks, outgoing.chunks + 1
        last = outgoing.offset >= len(payload)
        if last and not outgoing.next_part():
            self._outbox.remove(outgoing)
            if outgoing.held < len(outgoing.parts):
                self._held[outgoing.request] = outgoing
        if number or index:
            return Chunk(outgoing.request, number, index, last, checksum(part), part)
        flags = 0 if last else _MORE_CHUNKS
        if outgoing.held < len(outgoing.parts):
            flags |= _WANT_PARTIALS
        return outgoing.infer(
            stamp=stamp(now_s),
            flags=flags,
            checksum=checksum(part),
            payload=part,
        )

    def sent(self, message: Message, now_s: float) -> None:
        """Count a message that is not a request's."""
        self.pacer.on_sent(size(message), now_s, app_limited=True)

    def cancel(self, request: int) -> list[Message]:
        """Take back what has not left of `request`, and tell the worker if anything has."""
        self._ends_bytes.pop(request, None)
        outgoing = self._take(request)
        if outgoing is not None:
            self._used_bytes -= outgoing.nbytes
            if not (outgoing.refinement or outgoing.chunks):
                self._used_requests -= 1
                return []
        return [Cancel(request)]

    def _take(self, request: int) -> _Outgoing | None:
        """Take out and return what has not left of `request`, ``None`` if all has."""
        for outgoing in self._outbox:
            if outgoing.request == request:
                self._outbox.remove(outgoing)
                return outgoing
        return self._held.pop(request, None)
