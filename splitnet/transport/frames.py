"""Messages as ZeroMQ has them: lists of frames."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

import zmq

Frames: TypeAlias = Sequence[bytes | bytearray | memoryview]

MAX_FRAMES = 4
"""Frames kept of a message: more than any message has, so that the parser refuses what is cut."""

CURVE_BYTES = 33
"""What CURVE adds to a frame, of ZeroMQ's limit of a frame too: 8 bytes of name, 8 of nonce, 16 of
signature, 1 of flags (ZeroMQ RFC 26, "CurveZMQ messages")."""

_READABLE = int(zmq.POLLIN)
_EVENT = struct.Struct("=hi")
"""zmq_socket_monitor(3): the event's number and its value, in the order of the host."""


def receive(socket: zmq.Socket[bytes], max_frames: int = MAX_FRAMES) -> list[bytes] | None:
    """Return the next message of a socket, ``None`` if there is none; never wait."""
    if not int(socket.getsockopt(zmq.EVENTS)) & _READABLE:
        return None
    return _rest(socket, [socket.recv(zmq.NOBLOCK)], max_frames)


def receive_from(socket: zmq.Socket[bytes]) -> tuple[str, list[bytes]] | None:
    """Return the next message like `receive`, and the key that its sender has proved to hold."""
    if not int(socket.getsockopt(zmq.EVENTS)) & _READABLE:
        return None
    first = socket.recv(zmq.NOBLOCK, copy=False)
    return str(first.get("User-Id")), _rest(socket, [first.bytes], MAX_FRAMES)


def receive_event(monitor: zmq.Socket[bytes]) -> tuple[int, int] | None:
    """Return number and value of the next event of a monitor, ``None`` if there is none."""
    frames = receive(monitor)
    if frames is None:
        return None
    event, value = _EVENT.unpack(frames[0])
    return event, value


def _rest(socket: zmq.Socket[bytes], frames: list[bytes], max_frames: int) -> list[bytes]:
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv(zmq.NOBLOCK)
        if len(frames) < max_frames:
            frames.append(frame)
    return frames


def size(frames: Frames) -> int:
    """Return the number of bytes in all frames."""
    return sum(map(len, frames))
