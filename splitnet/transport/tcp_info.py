"""What the kernel knows of a TCP connection, and how much of what is sent it may hide."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

UNSENT_BYTES = 16 << 10
"""Unsent bytes that the kernel may hide. Measured at 50 Mbit/s and 50 ms: as fast as without the
bound, while a send buffer of that size leaves a tenth of it."""

_FIGURES = struct.Struct("=7xB60xI72xII8xQ")
"""``struct tcp_info`` of linux/tcp.h: flags, rtt, notsent_bytes, min_rtt, delivery_rate.

Everything up to ``tcpi_delivery_rate`` is there since Linux 4.9; later kernels append to it.
"""

_RETRANSMITS = struct.Struct("=100xI")
"""``tcpi_total_retrans``."""

_APP_LIMITED = 0x01 if sys.byteorder == "little" else 0x80
"""``tcpi_delivery_rate_app_limited``, the first bit field of its byte."""

_UNKNOWN_RTT = 0xFFFFFFFF
_INFO_BYTES = 256
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """Figures of one leg of a connection: up to a forwarder, if there is one in between.

    Attributes
    ----------
    rtt_s, min_rtt_s
        Smoothed and least round trip time.
    retransmits
        Segments sent again since the connection began.
    unsent_bytes
        What the kernel holds and has not sent once.
    delivery_bps
        Rate of delivery, measured last; a rate of the program, not of the link, if `app_limited`.
    app_limited
        Whether there was too little to send for `delivery_bps` to tell of the link.
    """

    rtt_s: float
    min_rtt_s: float
    retransmits: int
    unsent_bytes: int
    delivery_bps: float
    app_limited: bool


def parse_tcp_info(data: bytes) -> TcpInfo | None:
    """Return the figures in a ``struct tcp_info`` of Linux, ``None`` if it is too short for them.

    Source: include/uapi/linux/tcp.h.
    """
    if len(data) < _FIGURES.size:
        return None
    flags, rtt_us, unsent, min_rtt_us, rate = _FIGURES.unpack_from(data)
    (retransmits,) = _RETRANSMITS.unpack_from(data)
    return TcpInfo(
        rtt_s=rtt_us / 1e6,
        min_rtt_s=(rtt_us if min_rtt_us == _UNKNOWN_RTT else min_rtt_us) / 1e6,
        retransmits=retransmits,
        unsent_bytes=unsent,
        delivery_bps=8.0 * rate,
        app_limited=bool(flags & _APP_LIMITED),
    )


def read_tcp_info(descriptor: int) -> TcpInfo | None:
    """Return the kernel's figures of a connection; ``None`` where it has none, as outside Linux.

    `descriptor` may belong to somebody else, such as ZeroMQ, and may be closed by now.
    """
    if _INFO is None:
        return None
    try:
        with _borrowed(descriptor) as opened:
            return parse_tcp_info(opened.getsockopt(socket.IPPROTO_TCP, _INFO, _INFO_BYTES))
    except OSError:
        return None


def limit_unsent(descriptor: int, limit_bytes: int) -> bool:
    """Make the kernel take nothing more while `limit_bytes` are unsent; return if it can.

    Unlike a small send buffer this bounds what waits, not what is under way.
    """
    if _NOTSENT_LOWAT is None:
        return False
    try:
        with _borrowed(descriptor) as opened:
            opened.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, limit_bytes)
    except OSError:
        return False
    return True


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Use a descriptor as a socket without becoming its owner."""
    opened = socket.socket(fileno=descriptor)
    try:
        yield opened
    finally:
        opened.detach()
