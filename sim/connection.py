"""One connection of a simulated agent: what its messages cost, and who still holds an end."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from splitnet.sim.kernel import Kernel
from splitnet.sim.link import CONTROL_BYTES, Pipe
from splitnet.wire import Message, size

SHORT_FRAME_BYTES, LONG_FRAME_BYTES, LONGEST_SHORT_FRAME = 2, 9, 255
"""Flags and length of a ZeroMQ frame, and up to where the short form goes. Source: RFC 37."""

OPENING_ROUND_TRIPS = 3
"""TCP's handshake, ZMTP's signatures, then the rest of its greeting and READY.

Source: RFC 9293, 3.5; RFC 37 (libzmq holds its version back until it has seen a signature).
"""

OPENING_BYTES = 64
"""What crosses in each of these steps at most: a greeting. Source: RFC 37."""


def message_bytes(message: Message) -> int:
    """Return what a message occupies in the stream of a connection: frames and their headers."""
    nbytes = size(message)
    payload = getattr(message, "payload", None)
    if payload is None:
        return nbytes + _frame_header(nbytes)
    payload_bytes = len(payload)
    return nbytes + _frame_header(nbytes - payload_bytes) + _frame_header(payload_bytes)


def _frame_header(nbytes: int) -> int:
    return SHORT_FRAME_BYTES if nbytes <= LONGEST_SHORT_FRAME else LONG_FRAME_BYTES


class AgentEnd(Protocol):
    """What a connection tells the agent that opened it."""

    def established(self) -> None:
        """Messages can be sent."""

    def lost(self, reason: str) -> None:
        """Nothing will arrive any more, or the connection could not be made."""

    def received(self, message: Message) -> None:
        """Take a message of the worker."""


class WorkerEnd(Protocol):
    """What a connection tells the worker that it leads to."""

    def accept(self, connection: Connection) -> bool:
        """Return whether the worker is there to take the connection."""

    def receive(self, connection: Connection, message: Message) -> None:
        """Take a message of the agent."""


class Connection:
    """A TCP connection between an agent and the worker, over the agent's own link.

    Both directions deliver in order and lose nothing. Acknowledgements cost nothing, and there is
    no congestion control: the queue of the bottleneck belongs to this link alone.

    Parameters
    ----------
    peer
        The worker's name for this connection.
    hop_s
        What a message takes besides the link: two processes that wake up, write, read and parse.
    """

    def __init__(
        self,
        kernel: Kernel,
        up: Pipe,
        down: Pipe,
        agent: AgentEnd,
        worker: WorkerEnd,
        peer: bytes,
        hop_s: float = 0.0,
    ) -> None:
        self._kernel = kernel
        self._up = up
        self._down = down
        self._agent = agent
        self._worker = worker
        self.peer = peer
        self._hop_s = hop_s
        self.open_at_agent = True
        self.open_at_worker = False

    def open(self) -> None:
        """Begin to shake hands; the agent hears of it when that is done or refused."""
        self._up_later(OPENING_BYTES, self._knock, OPENING_ROUND_TRIPS)

    def send_up(self, message: Message) -> None:
        """Send a message to the worker."""
        self._up_later(message_bytes(message), self._at_worker, message)

    def send_down(self, message: Message) -> None:
        """Send a message to the agent."""
        self._down_later(message_bytes(message), self._at_agent, message)

    def close(self) -> None:
        """Let the agent's end go; the worker learns of it behind what is under way."""
        self.open_at_agent = False
        self._up_later(CONTROL_BYTES, self._closed_by_agent)

    def reset(self) -> None:
        """Let the worker's end go; the agent learns of it behind what is under way."""
        self.open_at_worker = False
        self._down_later(CONTROL_BYTES, self._lost, "the connection was lost")

    def cut(self, reason: str) -> None:
        """Take the connection from both ends at once, whatever is under way."""
        self.open_at_worker = False
        self._lost(reason)

    # --- arrivals -------------------------------------------------------------------------------

    def _knock(self, left: int) -> None:
        if left == OPENING_ROUND_TRIPS:
            self.open_at_worker = self._worker.accept(self)
        if not self.open_at_worker:
            self._down_later(CONTROL_BYTES, self._lost, "nobody listens there")
            return
        self._down_later(OPENING_BYTES, self._answered, left - 1)

    def _answered(self, left: int) -> None:
        if not self.open_at_agent:
            return
        if left:
            self._up_later(OPENING_BYTES, self._knock, left)
        else:
            self._agent.established()

    def _at_worker(self, message: Message) -> None:
        if self.open_at_worker:
            self._worker.receive(self, message)

    def _at_agent(self, message: Message) -> None:
        if self.open_at_agent:
            self._agent.received(message)

    def _closed_by_agent(self) -> None:
        self.open_at_worker = False

    def _lost(self, reason: str) -> None:
        if self.open_at_agent:
            self.open_at_agent = False
            self._agent.lost(reason)

    # --- the link -------------------------------------------------------------------------------

    def _up_later(self, nbytes: int, do: Callable[..., None], *arguments: Any) -> None:
        self._later(self._up, nbytes, do, *arguments)

    def _down_later(self, nbytes: int, do: Callable[..., None], *arguments: Any) -> None:
        self._later(self._down, nbytes, do, *arguments)

    def _later(self, pipe: Pipe, nbytes: int, do: Callable[..., None], *arguments: Any) -> None:
        arrival_s = pipe.send(self._kernel.now_s, nbytes)
        if arrival_s < inf:  # otherwise the link has ended for good
            self._kernel.at(arrival_s + self._hop_s, do, *arguments)
