"""The agent's connection to one worker: handshake, heartbeat, credit, reconnecting.

A part of the agent machine, sans-I/O like the rest. States: ``down`` (waiting for the next try),
``opening`` (socket asked for), ``greeting`` (hello sent), ``ready``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from splitnet.machines.agent_io import AgentAction, CloseLink, OpenLink, Report, Send
from splitnet.values import RequestClass
from splitnet.wire import (
    PROTOCOL_VERSION,
    Bye,
    Chunk,
    Credit,
    Error,
    Hello,
    Infer,
    InferFlag,
    Message,
    Payload,
    Ping,
    Welcome,
    checksum,
)

MISSED_HEARTBEATS = 3
"""Intervals of silence after which a side is given up (docs/wire.md, heartbeat)."""

STAMP_MODULUS = 1 << 32
"""Stamps are microseconds modulo 2**32."""


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Bounds of the connection.

    Attributes
    ----------
    device
        Name of this device in the hello.
    max_reply_bytes
        Replies above this are refused by the worker.
    chunk_bytes
        Payload bytes of one message.
    reconnect_min_s, reconnect_max_s
        First and longest pause between tries; it doubles in between, shortened by up to half at
        random so that a fleet does not come back in step.
    handshake_s
        Time that opening and greeting may take each.
    """

    device: str = "device"
    max_reply_bytes: int = 1 << 20
    chunk_bytes: int = 8192
    reconnect_min_s: float = 0.1
    reconnect_max_s: float = 5.0
    handshake_s: float = 2.0
    seed: int = 0


class LinkState(Enum):
    """Where the connection is."""

    DOWN = "down"
    OPENING = "opening"
    GREETING = "greeting"
    READY = "ready"
    CLOSED = "closed"


def stamp(now_s: float) -> int:
    """Return the time as the wire carries it."""
    return int(now_s * 1e6) % STAMP_MODULUS


def elapsed_s(now_s: float, echoed: int) -> float:
    """Return the time since `echoed` was stamped."""
    return ((stamp(now_s) - echoed) % STAMP_MODULUS) / 1e6


class Link:
    """One worker as the agent sees it; every method returns the actions to take."""

    def __init__(self, path_hashes: tuple[bytes, ...], config: LinkConfig) -> None:
        self._hashes = path_hashes
        self._config = config
        self._random = random.Random(config.seed)
        self._pause_s = config.reconnect_min_s
        self._forget_session()
        self.state = LinkState.DOWN
        self.epoch: int | None = None
        self.wakeup_s: float = 0.0
        self.connects = 0

    def _forget_session(self) -> None:
        self._session = 0
        self._handles: tuple[tuple[int, int] | None, ...] = ()
        self._granted = (0, 0)
        self._used = (0, 0)
        self._max_request_bytes = 0
        self._chunk_bytes = self._config.chunk_bytes
        self._heartbeat_s = self._config.handshake_s
        self._heard_s = 0.0
        self._ping = 0

    # --- states ---------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether requests can be sent, credit permitting."""
        return self.state is LinkState.READY

    def on_tick(self, now_s: float) -> list[AgentAction]:
        """Open, ping or give up, whatever is due."""
        if self.state is LinkState.CLOSED or now_s < self.wakeup_s:
            return []
        if self.state is LinkState.DOWN:
            self.state = LinkState.OPENING
            self.wakeup_s = now_s + self._config.handshake_s
            return [OpenLink()]
        if self.state is not LinkState.READY:
            return self.fail(f"no answer to {self.state.value} in time", now_s)
        if now_s >= self._heard_s + MISSED_HEARTBEATS * self._heartbeat_s:
            return self.fail(f"silent for {now_s - self._heard_s:.1f} s", now_s)
        self._ping += 1
        self.wakeup_s = now_s + self._heartbeat_s
        return [Send(Ping(self._ping, stamp(now_s)))]

    def on_up(self, now_s: float) -> list[AgentAction]:
        """Greet the worker: the connection stands."""
        if self.state is not LinkState.OPENING:
            return []
        self.state = LinkState.GREETING
        self.wakeup_s = now_s + self._config.handshake_s
        hello = Hello(
            versions=(PROTOCOL_VERSION,),
            paths=self._hashes,
            tables=(),
            max_reply_bytes=self._config.max_reply_bytes,
            device=self._config.device,
        )
        return [Send(hello)]

    def fail(self, reason: str, now_s: float, *, patient: bool = False) -> list[AgentAction]:
        """Close, and try again after a pause; the longest one at once if `patient`."""
        if self.state in (LinkState.CLOSED, LinkState.DOWN):
            return []
        if patient:
            self._pause_s = self._config.reconnect_max_s
        pause_s = self._pause_s * (1 - 0.5 * self._random.random())
        self._pause_s = min(2 * self._pause_s, self._config.reconnect_max_s)
        self._forget_session()
        self.state = LinkState.DOWN
        self.wakeup_s = now_s + pause_s
        detail = f"reason={reason!r} next_try_s={pause_s:.2f}"
        return [CloseLink(), Report("link-down", detail, warning=True)]

    def close(self, bye: Bye) -> list[AgentAction]:
        """Say bye if somebody listens, and never come back."""
        actions: list[AgentAction] = [Send(bye)] if self.ready else []
        self.state = LinkState.CLOSED
        return [*actions, CloseLink()]

    # --- messages -------------------------------------------------------------------------------

    def heard(self, now_s: float) -> None:
        """Note that the worker is alive."""
        self._heard_s = now_s

    def on_message(self, message: Message, now_s: float) -> list[AgentAction]:
        """Take a message that concerns the connection itself."""
        if isinstance(message, Welcome):
            return self._welcome(message, now_s)
        if isinstance(message, Credit):
            self._granted = (
                max(self._granted[0], message.requests),
                max(self._granted[1], message.bytes),
            )
        elif isinstance(message, Error):
            return self.fail(f"{message.code.name.lower()}: {message.detail}", now_s, patient=True)
        elif isinstance(message, Bye):
            return self.fail(f"worker said bye: {message.detail}", now_s)
        return []

    def _welcome(self, message: Welcome, now_s: float) -> list[AgentAction]:
        if self.state is not LinkState.GREETING:
            return self.fail("a welcome that nobody asked for", now_s)
        if len(message.handles) != len(self._hashes):
            return self.fail("the welcome does not answer the hello", now_s, patient=True)
        if not any(message.handles):
            return self.fail(
                "the worker serves another bundle: no path in common", now_s, patient=True
            )
        restarted = self.epoch is not None and self.epoch != message.epoch
        self.epoch = message.epoch
        self.connects += 1
        self.state = LinkState.READY
        self._pause_s = self._config.reconnect_min_s
        self._session = message.session
        self._handles = message.handles
        self._granted = (message.credit_requests, message.credit_bytes)
        self._max_request_bytes = message.max_request_bytes
        self._chunk_bytes = max(1, min(self._config.chunk_bytes, message.max_chunk_bytes))
        self._heartbeat_s = message.heartbeat_ms / 1000
        self._ping += 1
        self.wakeup_s = now_s + self._heartbeat_s
        served = sum(handle is not None for handle in self._handles)
        detail = f"session={self._session} paths={served}/{len(self._handles)}"
        return [
            Report("link-up", detail + (" worker=restarted" if restarted else "")),
            Send(Ping(self._ping, stamp(now_s))),
        ]

    # --- requests -------------------------------------------------------------------------------

    def serves(self, path: int) -> bool:
        """Whether the worker accepts path number `path` of the hello."""
        return self.ready and self._handles[path] is not None

    def has_credit(self, nbytes: int) -> bool:
        """Whether a request of `nbytes` may be sent now."""
        return (
            self.ready
            and self._used[0] < self._granted[0]
            and self._used[1] + nbytes <= self._granted[1]
        )

    def takes(self, nbytes: int) -> bool:
        """Whether the worker takes requests of this size at all."""
        return nbytes <= self._max_request_bytes

    def infer(
        self,
        *,
        request: int,
        path: int,
        level: int,
        stop: int,
        request_class: RequestClass,
        budget_us: int,
        payload: Payload,
        dims: tuple[int, ...],
        now_s: float,
    ) -> list[Message]:
        """Return the messages of a request and spend its credit (see `has_credit`)."""
        handle = self._handles[path]
        assert handle is not None
        self._used = (self._used[0] + 1, self._used[1] + len(payload))
        size = self._chunk_bytes
        parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [payload]
        infer = Infer(
            session=self._session,
            request=request,
            contract=handle[0],
            path=handle[1],
            level=level,
            stop=stop,
            request_class=request_class,
            budget_us=budget_us,
            stamp=stamp(now_s),
            stream=0,
            state=0,
            refinements=1,
            dims=dims,
            flags=int(InferFlag.MORE_CHUNKS) if len(parts) > 1 else 0,
            checksum=checksum(parts[0]),
            payload=parts[0],
        )
        chunks = [
            Chunk(
                request=request,
                refinement=0,
                index=index,
                last=index == len(parts) - 1,
                checksum=checksum(part),
                payload=part,
            )
            for index, part in enumerate(parts[1:], start=1)
        ]
        return [infer, *chunks]
