"""The worker's end: one socket for all agents, and not one reply lost to a high-water mark."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import zmq

from splitnet.errors import TransportError
from splitnet.transport.frames import (
    CURVE_BYTES,
    Frames,
    receive,
    receive_event,
    receive_from,
    size,
)
from splitnet.transport.gate import Gate
from splitnet.transport.reactor import Reactor
from splitnet.transport.tcp_info import UNSENT_BYTES, limit_unsent

HWM = 64
"""Messages that libzmq may hold for one peer, in each direction; ours are bounded by bytes."""

RETRY_S = 0.005
"""Pause before a peer that did not read is tried again: a ROUTER cannot be polled for one peer."""

SILENT_S = 30.0
"""Time after which a peer is asked whether it is there, and as much for its answer; a handshake may
take so long, too. Who vanishes without a farewell would keep its descriptor here for ever: sessions
end by silence long before, but a ROUTER has no way to hang up on one peer."""

RECEIVE_LIMIT = 256
"""Messages taken at once, so that a flood does not keep the reactor from its other work."""


class Router:
    """A ROUTER socket that never blocks and never drops a message without saying so.

    What a peer does not read waits here, within a bound, since the kernel is kept from taking
    megabytes for each peer.

    Parameters
    ----------
    max_message_bytes
        A peer that sends a larger frame is disconnected by libzmq.
    queue_bytes
        Bound on what waits for one peer; beyond it the peer is given up.
    silent_s
        A peer whose ZeroMQ says nothing for twice as long is disconnected.
    gate
        Who may connect, and the keys to it; without one, everybody may and nothing is encrypted.
    """

    def __init__(
        self,
        reactor: Reactor,
        endpoint: str,
        *,
        max_message_bytes: int,
        queue_bytes: int,
        silent_s: float = SILENT_S,
        gate: Gate | None = None,
    ) -> None:
        self._reactor = reactor
        self._silent_ms = int(1000 * silent_s)
        self._gate = gate
        self._wanted = endpoint
        self._max_message_bytes = max_message_bytes
        self._queue_bytes = queue_bytes
        self._waiting: dict[bytes, deque[Frames]] = {}
        self._waiting_bytes: dict[bytes, int] = {}

    @property
    def endpoint(self) -> str:
        """The address bound, with the port that the system chose."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def retry_s(self) -> float | None:
        """Time after which `flush` should be called, ``None`` if nothing waits."""
        return RETRY_S if self._waiting else None

    def open(self) -> None:
        """Bind.

        Raises
        ------
        TransportError
            The port is taken or the address is not this machine's, or the reactor has two gates.
        """
        if self._gate is not None:
            self._gate.open(self._reactor)
        self._socket = self._reactor.context.socket(zmq.ROUTER)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.SNDHWM, HWM),
            (zmq.RCVHWM, HWM),
            (zmq.MAXMSGSIZE, self._max_message_bytes + (CURVE_BYTES if self._gate else 0)),
            (zmq.HANDSHAKE_IVL, self._silent_ms),
            (zmq.HEARTBEAT_IVL, self._silent_ms),
            (zmq.HEARTBEAT_TIMEOUT, self._silent_ms),
            (zmq.IPV6, int(self._wanted.startswith("tcp://["))),
        ):
            self._socket.setsockopt(option, value)
        if self._gate is not None:
            self._gate.guard(self._socket)
        try:
            self._socket.bind(self._wanted)
        except zmq.ZMQError as error:
            self._close(0.0)
            if error.errno == zmq.EADDRINUSE:
                raise TransportError(
                    f"{self._wanted} is in use; stop the program that listens there or choose "
                    "another port with --bind"
                ) from error
            raise TransportError(f"cannot bind {self._wanted}: {error.strerror}") from error
        self._reactor.watch(self._socket)
        self._reactor.watch(self._monitor)

    def close(self, linger_s: float = 0.0) -> None:
        """Close the socket; libzmq may send for `linger_s` what it has already taken."""
        self._reactor.forget(self._monitor)
        self._reactor.forget(self._socket)
        self._close(linger_s)

    def _close(self, linger_s: float) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=int(1000 * linger_s))
        if self._gate is not None:
            self._gate.close()

    def receive(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """Yield the messages that wait, with the name of their peer; let in who may come in.

        What comes from a key that was taken off the list is thrown away, so that its session ends
        by silence.
        """
        if self._gate is not None:
            self._gate.serve()
        self._bound_new_peers()
        for _ in range(RECEIVE_LIMIT):
            frames = self._take()
            if frames is None:
                return
            if frames:
                yield frames[0], frames[1:]

    def _bound_new_peers(self) -> None:
        for _ in range(RECEIVE_LIMIT):
            accepted = receive_event(self._monitor)
            if accepted is None:
                return
            limit_unsent(accepted[1], UNSENT_BYTES)

    def _take(self) -> list[bytes] | None:
        if self._gate is None or not self._gate.revoking:
            return receive(self._socket)
        found = receive_from(self._socket)
        if found is None:
            return None
        key, frames = found
        return frames if self._gate.allows(key) else []

    def send(self, peer: bytes, frames: Frames) -> bool:
        """Send a message or keep it for later; ``False`` if the peer is gone."""
        if peer in self._waiting:
            return self._keep(peer, frames)
        try:
            self._socket.send_multipart([peer, *frames], zmq.NOBLOCK)
        except zmq.Again:
            return self._keep(peer, frames)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True

    def flush(self) -> list[bytes]:
        """Try again what waits; return the peers that are gone."""
        gone = []
        for peer in list(self._waiting):
            frames = self._waiting.pop(peer)
            self._waiting_bytes.pop(peer)
            if not all(self.send(peer, message) for message in frames):
                self._purge(peer)
                gone.append(peer)
        return gone

    def _keep(self, peer: bytes, frames: Frames) -> bool:
        waiting_bytes = self._waiting_bytes.get(peer, 0) + size(frames)
        if waiting_bytes > self._queue_bytes:
            self._purge(peer)
            return False
        self._waiting.setdefault(peer, deque()).append(frames)
        self._waiting_bytes[peer] = waiting_bytes
        return True

    def _purge(self, peer: bytes) -> None:
        self._waiting.pop(peer, None)
        self._waiting_bytes.pop(peer, None)
