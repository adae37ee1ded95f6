"""One direction of a link, without sockets or a clock: the shaper and the simulator share it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from splitnet.sim.capacity import ROUNDING_BYTES, Capacity
from splitnet.sim.delay import Delay

PACKET_BYTES = 1500
"""What a link carries as a piece; longer payloads are cut into pieces of this size."""

CONTROL_BYTES = 40
"""What the opening or the end of a connection takes of the link: headers of IP and TCP."""


@dataclass(frozen=True, slots=True)
class Direction:
    """What one direction of a link is like; nothing of it changes while bytes pass.

    Attributes
    ----------
    capacity
        When the head of the queue is served.
    delay
        When what was served arrives.
    queue_bytes
        Bound on what waits to be served.
    """

    capacity: Capacity
    delay: Delay
    queue_bytes: int


@dataclass(frozen=True, slots=True)
class Link:
    """Both directions of a link, seen from the device, and when its connections are reset."""

    up: Direction
    down: Direction
    resets_s: tuple[float, ...] = ()


class Pipe:
    """The bytes that wait for one direction of a link, first in, first out.

    All there is to remember is how far the capacity has been given away: the bytes up to that
    position on its curve have their time of departure, and what departs later than now is the
    queue. A payload may be sent whole or in pieces; its last byte arrives at the same time.

    Times are seconds since the link began. What is sent later arrives later, also if it is said to
    have come a little before what was sent last.

    Attributes
    ----------
    busy_since_s
        Since when the queue has never been empty, as far as bytes were sent in time.

    Examples
    --------
    >>> from splitnet.sim.capacity import constant
    >>> direction = Direction(constant(8e6), Delay((0.0,), (0.020,)), queue_bytes=65536)
    >>> pipe = Pipe(direction)
    >>> pipe.send(1.0, 10_000)  # 10 ms at 1 byte a microsecond, and 20 ms of delay
    1.03
    >>> pipe.backlog_bytes(1.004), pipe.room_bytes(1.004)
    (6000, 59536)
    """

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.busy_since_s = 0.0
        self._capacity = direction.capacity
        self._delay = direction.delay
        self._position = 0.0
        self._departed_s = 0.0

    def send(self, now_s: float, nbytes: int) -> float:
        """Append bytes to the queue and return when the last one arrives (infinity: never).

        The queue takes more than its bound: a caller that wants back-pressure asks for the room
        first, one that does not thinks of the rest as waiting at the sender.
        """
        position = self._capacity.bytes_by(now_s)
        if position > self._position:
            self._position = position
            self.busy_since_s = now_s
        self._position += nbytes
        served_s = self._capacity.time_of(self._position)
        self._departed_s = max(self._departed_s, served_s, now_s)
        return self._delay.arrival_s(self._departed_s)

    def backlog_bytes(self, now_s: float) -> int:
        """Return the bytes that have not left the queue by `now_s`."""
        return max(0, ceil(self._position - self._capacity.bytes_by(now_s) - ROUNDING_BYTES))

    def room_bytes(self, now_s: float) -> int:
        """Return the bytes that the queue takes at `now_s` without exceeding its bound."""
        return max(0, self.direction.queue_bytes - self.backlog_bytes(now_s))

    def room_at_s(self, nbytes: int) -> float:
        """Return the first time at which there is room for `nbytes`, if nothing else is sent.

        It may be in the past, and is infinity if the link ends before.
        """
        if nbytes > self.direction.queue_bytes:
            return inf
        return self._capacity.time_of(self._position + nbytes - self.direction.queue_bytes)
