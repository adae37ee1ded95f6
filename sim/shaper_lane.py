"""One direction of the shaped link: what waits for it, what is on it, and what has come late."""

from __future__ import annotations

from collections import deque
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from splitnet.sim.link import PACKET_BYTES, Direction, Pipe
from splitnet.sim.shaper_meter import Histogram, RateMeter
from splitnet.sim.shaper_sockets import KERNEL_QUEUE_BYTES

if TYPE_CHECKING:
    from splitnet.sim.shaper_connection import Connection, Leg

CONTROL_BYTES = 40
"""What the opening or the end of a connection takes of the link: headers of IP and TCP."""

READ_AT_ROOM_BYTES = 8 * PACKET_BYTES
"""Reading goes on when there is room for that much, or for half of a smaller queue."""


class Control(Enum):
    """What crosses the link besides bytes."""

    OPEN = "open"
    END = "end"
    RESET = "reset"


Payload: TypeAlias = "memoryview | Control"


class Lane:
    """A `Pipe` with the bytes in it, its meters, and the senders that wait for room.

    The kernel's receive buffers of all connections count as part of the queue.
    """

    def __init__(self, name: str, direction: Direction) -> None:
        self.name = name
        self.pipe = Pipe(direction)
        self.waiting: deque[Leg] = deque()
        self.overdue_bytes = 0
        self.received_bytes = 0
        self.dropped_bytes = 0
        self.delay_error = Histogram()
        self.rate = RateMeter(self.pipe)
        self._items: deque[tuple[float, Connection, Payload]] = deque()
        self._reserved_bytes = 0
        self._due_s = 0.0

    def reserve(self, connections: int) -> None:
        """Take what the kernel may hold of so many connections off the queue."""
        bound = self.pipe.direction.queue_bytes
        self._reserved_bytes = min(connections * KERNEL_QUEUE_BYTES, bound - PACKET_BYTES)

    def room_bytes(self, now_s: float) -> int:
        """Return how many bytes may be read now, 0 as long as it is not worth it."""
        taken = self._reserved_bytes + self.overdue_bytes
        room = self.pipe.room_bytes(now_s) - taken
        return room if room >= self._worthwhile_bytes else 0

    def put(self, arrived_s: float, connection: Connection, data: bytes) -> None:
        """Let bytes that arrived from a sender wait for the link, packet by packet."""
        self.received_bytes += len(data)
        view = memoryview(data)
        for start in range(0, len(data), PACKET_BYTES):
            packet = view[start : start + PACKET_BYTES]
            due_s = self.pipe.send(arrived_s, len(packet))
            self._items.append((due_s, connection, packet))

    def signal(self, now_s: float, connection: Connection, control: Control) -> None:
        """Let the opening or the end of a connection follow what was sent before."""
        self._items.append((self.pipe.send(now_s, CONTROL_BYTES), connection, control))

    def take(self, now_s: float) -> tuple[Connection, list[Payload], float] | None:
        """Take what is due by `now_s` for the connection at the head, and when the first was due.

        Bytes come together up to the next control; a control comes alone.
        """
        items = self._items
        if not items or items[0][0] > now_s:
            return None
        due_s, connection, payload = items.popleft()
        payloads = [payload]
        self.delay_error.add(now_s - due_s)
        if isinstance(payload, Control):
            return connection, payloads, due_s
        while items and items[0][0] <= now_s and items[0][1] is connection:
            if isinstance(items[0][2], Control) or len(payloads) == MAX_TOGETHER:
                break
            later_due_s, _, payload = items.popleft()
            payloads.append(payload)
            self.delay_error.add(now_s - later_due_s)
        return connection, payloads, due_s

    def wakeup_s(self) -> float:
        """Return when the next delivery is due or room returns for somebody who waits for it."""
        due_s = self._items[0][0] if self._items else inf
        if not self.waiting or self.overdue_bytes:
            return due_s
        return min(due_s, self.pipe.room_at_s(self._reserved_bytes + self._worthwhile_bytes))

    @property
    def _worthwhile_bytes(self) -> int:
        usable = self.pipe.direction.queue_bytes - self._reserved_bytes
        return min(READ_AT_ROOM_BYTES, max(1, usable // 2))
