"""The agent's connection to one worker: handshake, heartbeat, credit, reconnecting.

A part of the agent machine, sans-I/O like the rest. States: ``down`` (waiting for the next try),
``opening`` (socket asked for), ``greeting`` (hello sent), ``ready``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from math import inf

from splitnet.errors import WireCode
from splitnet.machines.agent_io import (
    AgentAction,
    CloseLink,
    LinkFigures,
    OpenLink,
    Report,
    Send,
)
from splitnet.machines.pacing import FIRST_CHUNK_BYTES, MIN_CHUNK_BYTES
from splitnet.machines.probing import Prober
from splitnet.machines.uplink import Uplink
from splitnet.policies.estimators import LinkEstimator
from splitnet.wire import (
    MISSED_HEARTBEATS,
    PROTOCOL_VERSION,
    Bye,
    Credit,
    Error,
    Hello,
    Message,
    Pong,
    ProgressAck,
    Welcome,
)

HOPELESS = frozenset(
    {WireCode.VERSION, WireCode.INCOMPATIBLE, WireCode.MALFORMED, WireCode.UNSUPPORTED}
)
"""Errors of a connection that the next one will meet again: there is no hurry to try."""


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Bounds of the connection.

    Attributes
    ----------
    device
        Name of this device in the hello.
    max_reply_bytes
        Replies above this are refused by the worker.
    max_chunk_bytes
        Payload bytes of one message at most; on a slow link they are fewer.
    reconnect_min_s, reconnect_max_s
        First and longest pause between tries; it doubles in between, shortened by up to half at
        random so that a fleet does not come back in step.
    handshake_s
        Time that opening and greeting may take each.
    probe_budget_bps
        Bits a second that probes may cost on average while requests come; 0 for no probes.
    """

    device: str = "device"
    max_reply_bytes: int = 1 << 20
    max_chunk_bytes: int = 256 << 10
    reconnect_min_s: float = 0.1
    reconnect_max_s: float = 5.0
    handshake_s: float = 2.0
    probe_budget_bps: float = 64e3
    seed: int = 0


class LinkState(Enum):
    """Where the connection is."""

    DOWN = "down"
    OPENING = "opening"
    GREETING = "greeting"
    READY = "ready"
    CLOSED = "closed"


class Link:
    """One worker as the agent sees it; every method returns the actions to take."""

    def __init__(self, path_hashes: tuple[bytes, ...], config: LinkConfig) -> None:
        self._config = config
        self._random = random.Random(config.seed)
        self._pause_s = config.reconnect_min_s
        self._first_chunk_bytes = FIRST_CHUNK_BYTES
        self._hello = Hello(
            versions=(PROTOCOL_VERSION,),
            paths=path_hashes,
            tables=(),
            max_reply_bytes=config.max_reply_bytes,
            device=config.device,
        )
        self.estimate = LinkEstimator()
        self._forget_session()
        self.state = LinkState.DOWN
        self.epoch: int | None = None
        self._due_s = 0.0

    def _forget_session(self) -> None:
        self.uplink: Uplink | None = None
        self.figures: LinkFigures | None = None
        self._prober: Prober | None = None
        self._heard_s = 0.0
        self._silence_s = inf

    # --- states ---------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether there is a session; then there is an `uplink` too."""
        return self.uplink is not None

    @property
    def wakeup_s(self) -> float:
        """When `on_tick` has something to do."""
        if self._prober is None:
            return self._due_s
        due_s, silent_s = self._prober.due_s, self._heard_s + self._silence_s
        return due_s if due_s < silent_s else silent_s

    def on_tick(self, now_s: float) -> list[AgentAction]:
        """Open, ping or give up, whatever is due."""
        if self.state is LinkState.CLOSED or now_s < self.wakeup_s:
            return []
        if self.state is LinkState.DOWN:
            self.state = LinkState.OPENING
            self._due_s = now_s + self._config.handshake_s
            return [OpenLink()]
        if self._prober is None:
            return self.fail(f"no answer to {self.state.value} in time", now_s)
        if now_s >= self._heard_s + self._silence_s:
            # Perhaps the link is so slow that a first chunk takes longer than silence may last.
            self._first_chunk_bytes = max(self._first_chunk_bytes // 2, MIN_CHUNK_BYTES)
            return self.fail(f"silent for {now_s - self._heard_s:.1f} s", now_s)
        return [Send(ping) for ping in self._prober.ping(now_s)]

    # --- measuring ------------------------------------------------------------------------------

    def use(self, now_s: float) -> None:
        """Note that a request came whose way depends on how the link is."""
        if self._prober is not None:
            self._prober.use(now_s)

    def follow_up(self, now_s: float) -> list[AgentAction]:
        """Send a probe if what was learned of late calls for one."""
        return [] if self._prober is None else [Send(p) for p in self._prober.probe(now_s)]

    def rtt_s(self, now_s: float) -> float | None:
        """Return the round trip time, no less than the age of a ping without an answer."""
        known_s = self.estimate.rtt_s
        if self._prober is None or known_s is None:
            return known_s
        kernel_s = 0.0 if self.figures is None else self.figures.rtt_s
        return max(known_s, kernel_s, self._prober.overdue_s(now_s))

    def goodput_bps(self, now_s: float) -> float | None:
        """Return the goodput, lowered by what should have arrived by now."""
        if self.uplink is None:
            return self.estimate.goodput_bps
        oldest_bytes, oldest_s = self.uplink.pacer.oldest(now_s)
        return self.estimate.bounded_bps(oldest_bytes, oldest_s)

    @property
    def unacked_bytes(self) -> int:
        """Bytes under way to the worker."""
        return 0 if self.uplink is None else self.uplink.pacer.unacked_bytes

    def on_up(self, now_s: float) -> list[AgentAction]:
        """Greet the worker: the connection stands."""
        if self.state is not LinkState.OPENING:
            return []
        self.state = LinkState.GREETING
        self._due_s = now_s + self._config.handshake_s
        return [Send(self._hello)]

    def fail(
        self, reason: str, now_s: float, *, patient: bool = False, after_s: float = 0.0
    ) -> list[AgentAction]:
        """Close, and try again after a pause of at least `after_s`; the longest if `patient`."""
        if self.state in (LinkState.CLOSED, LinkState.DOWN):
            return []
        if patient:
            self._pause_s = self._config.reconnect_max_s
        pause_s = max(after_s, self._pause_s * (1 - 0.5 * self._random.random()))
        self._pause_s = min(2 * self._pause_s, self._config.reconnect_max_s)
        self._forget_session()
        self.state = LinkState.DOWN
        self._due_s = now_s + pause_s
        detail = f"reason={reason!r} next_try_s={pause_s:.2f}"
        return [CloseLink(), Report("link-down", detail, warning=True)]

    def close(self, reason: str) -> list[AgentAction]:
        """Say bye if somebody listens, and never come back."""
        actions: list[AgentAction] = [Send(Bye(WireCode.DRAINING, reason))] if self.ready else []
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
        if isinstance(message, Error):
            return self.fail(
                f"{message.code.name.lower()}: {message.detail}",
                now_s,
                patient=message.code in HOPELESS,
                after_s=message.retry_after_ms / 1000,
            )
        if isinstance(message, Bye):
            return self.fail(f"worker said bye: {message.detail}", now_s)
        if self.uplink is not None and isinstance(message, Credit):
            self.uplink.on_credit(message)
        if self.uplink is not None and isinstance(message, ProgressAck):
            self.uplink.on_ack(message, now_s)
        if self._prober is not None and isinstance(message, Pong):
            return [Send(probe) for probe in self._prober.on_pong(message, now_s)]
        return []

    def _welcome(self, message: Welcome, now_s: float) -> list[AgentAction]:
        if self.state is not LinkState.GREETING:
            return self.fail("a welcome that nobody asked for", now_s)
        if len(message.handles) != len(self._hello.paths):
            return self.fail("the welcome does not answer the hello", now_s, patient=True)
        if not any(message.handles):
            return self.fail(
                "the worker serves another bundle: no path in common", now_s, patient=True
            )
        restarted = self.epoch is not None and self.epoch != message.epoch
        self.epoch = message.epoch
        self.state = LinkState.READY
        self._pause_s = self._config.reconnect_min_s
        self.uplink = Uplink(message, self._config.max_chunk_bytes, self._first_chunk_bytes)
        self.uplink.sent(self._hello, now_s)
        heartbeat_s = message.heartbeat_ms / 1000
        self._silence_s = MISSED_HEARTBEATS * heartbeat_s
        self._prober = Prober(
            self.estimate, self.uplink, self._config.probe_budget_bps / 8, heartbeat_s, now_s
        )
        served = sum(handle is not None for handle in message.handles)
        detail = f"session={message.session} paths={served}/{len(message.handles)}"
        return [
            Report("link-up", detail + (" worker=restarted" if restarted else "")),
            *(Send(ping) for ping in self._prober.ping(now_s)),
        ]
