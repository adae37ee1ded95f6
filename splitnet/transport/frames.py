"""Messages as ZeroMQ has them: lists of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import zmq

Frames: TypeAlias = Sequence[bytes | bytearray | memoryview]

MAX_FRAMES = 4
"""Frames kept of a message: more than any message has, so that the parser refuses what is cut."""


_READABLE = int(zmq.POLLIN)


def receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    """Return the next message of a socket, ``None`` if there is none; never wait."""
    if not int(socket.getsockopt(zmq.EVENTS)) & _READABLE:
        return None
    frames = [socket.recv(zmq.NOBLOCK)]
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv(zmq.NOBLOCK)
        if len(frames) < MAX_FRAMES:
            frames.append(frame)
    return frames


def size(frames: Frames) -> int:
    """Return the number of bytes in all frames."""
    return sum(map(len, frames))
