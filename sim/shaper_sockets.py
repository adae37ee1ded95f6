"""The sockets of the shaper: loopback only, non-blocking, with small kernel buffers."""

from __future__ import annotations

import array
import fcntl
import re
import socket
import termios
from dataclasses import dataclass
from ipaddress import ip_address

from splitnet.errors import ConfigError, TransportError

MIN_KERNEL_BYTES, MAX_KERNEL_BYTES = 8192, 65536
KERNEL_SHARE = 8
"""The kernel may hold an eighth of a queue, within these bounds.

Below, TCP would crawl; above, reads do not become cheaper any more.
"""

SEND_BYTES = 32768
"""What the kernel is asked to hold of what has been delivered and the receiver has not taken."""

SEGMENT_BYTES = 1448
"""TCP segments as on Ethernet. With the 64 KB of the loopback, a small buffer would stall."""

BACKLOG = 128
"""Connections that wait to be accepted."""

_ENDPOINT = re.compile(r"(tcp://)?(?P<host>\[[0-9a-fA-F:]+\]|[^:/\[\]]+):(?P<port>\d+|\*)")


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address on this machine; the text form is ``tcp://host:port``."""

    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """Return which kind of sockets reaches it."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def parse_address(text: str, option: str, *, any_port: bool = False) -> Address:
    """Return the address in ``[tcp://]host:port``; port 0 or ``*`` means any if that is allowed.

    Raises
    ------
    ConfigError
        Not such an address, or not on loopback; `option` says where it was given.
    """
    found = _ENDPOINT.fullmatch(text)
    if found is None:
        raise ConfigError(f"{option} {text!r} is not an address; write 127.0.0.1:5555")
    host = "127.0.0.1" if found["host"] == "localhost" else found["host"].strip("[]")
    port = 0 if found["port"] == "*" else int(found["port"])
    if port > 65535 or (port == 0 and not any_port):
        raise ConfigError(f"{option} {text}: the port must be a number from 1 to 65535")
    if not _is_loopback(host):
        raise ConfigError(
            f"{option} {text}: the shaper stays on this machine; use 127.0.0.1:{port or 'PORT'}"
        )
    return Address(host, port)


def kernel_bytes(queue_bytes: int) -> int:
    """Return how much of a queue the kernel may hold of one connection before it is read."""
    return min(MAX_KERNEL_BYTES, max(MIN_KERNEL_BYTES, queue_bytes // KERNEL_SHARE))


def listen_at(address: Address, queue_bytes: int) -> socket.socket:
    """Return a socket that listens there; what it accepts has small buffers as well.

    Parameters
    ----------
    queue_bytes
        Of the queue that is read from there.

    Raises
    ------
    TransportError
        The port is in use or may not be used.
    """
    listener = _small(address.family, queue_bytes)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise TransportError(
            f"cannot listen at {address}: {error.strerror}; choose another port with --listen"
        ) from error
    return listener


def connecting_to(address: Address, queue_bytes: int) -> tuple[socket.socket, int]:
    """Return a socket that is being connected, and the error if that has failed already."""
    made = _small(address.family, queue_bytes)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made, made.connect_ex((address.host, address.port))


def accept_from(listener: socket.socket) -> socket.socket:
    """Return the next connection, or raise what `socket.socket.accept` raises."""
    accepted, _ = listener.accept()
    accepted.setblocking(False)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return accepted


def reset(connected: socket.socket) -> None:
    """Close a connection so that the other end sees it reset, not ended."""
    linger = array.array("i", (1, 0)).tobytes()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connected.close()


def unread_bytes(connected: socket.socket) -> int:
    """Return how many bytes have arrived and have not been read."""
    count = array.array("i", (0,))
    fcntl.ioctl(connected.fileno(), termios.FIONREAD, count)
    return count[0]


def _small(family: socket.AddressFamily, queue_bytes: int) -> socket.socket:
    """Return a socket whose buffers are set before anything is connected, as TCP demands."""
    # The kernel doubles what it is asked for (socket(7)).
    receive_bytes = kernel_bytes(queue_bytes) // 2
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    return made


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
