"""The device's end of a connection: one attempt, one socket, never a reconnect of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import zmq

from splitnet.errors import OverloadError, TransportError
from splitnet.transport.frames import CURVE_BYTES, Frames, receive, receive_event, size
from splitnet.transport.keys import ClientKeys
from splitnet.transport.reactor import Reactor
from splitnet.transport.tcp_info import UNSENT_BYTES, TcpInfo, limit_unsent, read_tcp_info

SEND_HWM = 1
"""Messages that libzmq may hide in its queue, beside the one it is sending; others wait in ours.

Measured on a link of 50 Mbit/s and 50 ms that stalls, with chunks of 16 KB: as fast as with 4, and
libzmq and the kernel hide 41 KB at most instead of 82 (benchmarks/tun_link.py)."""

TCP_INFO_S = 0.5
"""Age of the kernel's figures, at most, when a connection is lost."""

_MONITORED = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
)
_REASONS: Mapping[int, str] = {
    zmq.EVENT_CLOSED: "nobody listens there",
    zmq.EVENT_DISCONNECTED: "the connection was lost",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "handshake broken off: the peer wants keys and none "
    "are given here, it does not speak ZeroMQ, or the link broke",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "the peer speaks another ZeroMQ protocol",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "handshake refused",
}
_WANTS_KEYS = "handshake refused: the peer wants keys, none are given here"
_KEYED_REASONS: Mapping[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "handshake broken off: the server key given here is not "
    "the key of this {peer}, the {peer} uses no keys, or the link broke",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "handshake refused: the {peer} uses no keys, some are "
    "given here",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "handshake refused: the {peer} does not know this key",
}


@dataclass(frozen=True, slots=True)
class Up:
    """The connection is established."""


@dataclass(frozen=True, slots=True)
class Down:
    """The connection was lost, or could not be made; the dealer is of no use any longer."""

    reason: str


class Dealer:
    """A DEALER socket that connects once and reports what becomes of its connection.

    libzmq's own reconnecting is off: a new attempt is a new dealer, so that nothing queued for an
    old connection is ever sent on a new one.

    Parameters
    ----------
    max_message_bytes
        A larger frame from the worker ends the connection.
    queue_bytes
        Bound on what waits to be sent.
    connect_s
        Time that connecting and shaking hands may take each. A peer that sends bytes of another
        protocol can outlast it: whoever opens a dealer keeps a timer of its own.
    keys
        Our pair and the key that the worker must have; without them nothing is encrypted.
    """

    def __init__(
        self,
        reactor: Reactor,
        endpoint: str,
        *,
        max_message_bytes: int,
        queue_bytes: int,
        connect_s: float,
        keys: ClientKeys | None = None,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._keys = keys
        self._max_message_bytes = max_message_bytes
        self._queue_bytes = queue_bytes
        self._connect_ms = int(1000 * connect_s)
        self._waiting: deque[Frames] = deque()
        self._waiting_bytes = 0
        self._blocked = False
        self._descriptor: int | None = None
        self._tcp_info: TcpInfo | None = None
        self._informed_s = 0.0

    def open(self) -> None:
        """Begin to connect; `events` tells how it went.

        Raises
        ------
        TransportError
            The endpoint cannot be used at all.
        """
        self._socket = self._reactor.context.socket(zmq.DEALER)
        self._monitor = self._socket.get_monitor_socket(_MONITORED)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.IMMEDIATE, 1),
            (zmq.RECONNECT_IVL, -1),
            (zmq.SNDHWM, SEND_HWM),
            (zmq.MAXMSGSIZE, self._max_message_bytes + (CURVE_BYTES if self._keys else 0)),
            (zmq.CONNECT_TIMEOUT, self._connect_ms),
            (zmq.HANDSHAKE_IVL, self._connect_ms),
            (zmq.IPV6, int(self._endpoint.startswith("tcp://["))),
        ):
            self._socket.setsockopt(option, value)
        if self._keys is not None:
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, self._keys.server.text.encode())
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, self._keys.own.public.text.encode())
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, self._keys.own.secret.encode())
        self._reactor.watch(self._socket)
        self._reactor.watch(self._monitor)
        try:
            self._socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise TransportError(f"cannot connect to {self._endpoint}: {error.strerror}") from error

    def close(self, linger_s: float = 0.0) -> None:
        """Close the socket and forget what was not sent.

        What libzmq has already taken may still go out for `linger_s`.
        """
        self._descriptor = None
        self._waiting.clear()
        self._waiting_bytes = 0
        self._reactor.forget(self._monitor)
        self._reactor.forget(self._socket)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=int(1000 * linger_s))

    def send(self, frames: Frames) -> None:
        """Send a message, at once or as soon as the socket takes it; never wait.

        Raises
        ------
        OverloadError
            More than the bound would wait to be sent.
        """
        waiting_bytes = self._waiting_bytes + size(frames)
        if waiting_bytes > self._queue_bytes:
            raise OverloadError(
                f"{waiting_bytes} bytes wait to be sent to {self._endpoint}, at most "
                f"{self._queue_bytes} are allowed"
            )
        self._waiting.append(frames)
        self._waiting_bytes = waiting_bytes
        self._flush()

    def events(self) -> Iterator[Up | Down | list[bytes]]:
        """Yield what happened: messages as their frames, and the fate of the connection.

        Close the dealer only after the iterator has ended or was abandoned.
        """
        self._flush()
        if time.monotonic() - self._informed_s >= TCP_INFO_S:
            self.tcp_info()
        yield from self._messages()
        yield from self._changes()

    def tcp_info(self) -> TcpInfo | None:
        """Return what the kernel knows of the connection; of a lost one, what was read last."""
        if self._descriptor is not None:
            self._informed_s = time.monotonic()
            self._tcp_info = read_tcp_info(self._descriptor) or self._tcp_info
        return self._tcp_info

    def _messages(self) -> Iterator[list[bytes]]:
        while not self._socket.closed and (frames := receive(self._socket)) is not None:
            yield frames

    def _changes(self) -> Iterator[Up | Down]:
        while not self._socket.closed and (found := receive_event(self._monitor)) is not None:
            event, value = found
            if event == zmq.EVENT_CONNECTED:
                self._descriptor = value
                limit_unsent(value, UNSENT_BYTES)
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                yield Up()
            elif event in _REASONS:
                self._descriptor = None
                yield Down(f"{self._endpoint}: {self._reason(event, value)}")
                return

    def _reason(self, event: int, value: int) -> str:
        if self._keys is not None:
            reason = _KEYED_REASONS.get(event, _REASONS[event])
            return reason.format(peer=self._keys.server.kind or "worker")
        if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            return _WANTS_KEYS
        return _REASONS[event]

    def _flush(self) -> None:
        while self._waiting:
            try:
                self._socket.send_multipart(self._waiting[0], zmq.NOBLOCK)
            except zmq.Again:
                break
            self._waiting_bytes -= size(self._waiting.popleft())
        if self._blocked != bool(self._waiting):
            self._blocked = not self._blocked
            self._reactor.watch(self._socket, output=self._blocked)
