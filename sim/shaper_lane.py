"""One direction of the shaped link: what waits for it, and who waits for room."""

from __future__ import annotations

from collections import deque
from enum import Enum
from math import inf
from typing import Generic, TypeAlias, TypeVar

from splitnet.sim.link import CONTROL_BYTES, PACKET_BYTES, Direction, Pipe
from splitnet.sim.shaper_meter import Histogram, RateMeter
from splitnet.sim.shaper_sockets import kernel_bytes

READ_AT_ROOM_BYTES, READ_AT_SHARE = 8 * PACKET_BYTES, 16
"""Reading goes on when there is room for that much, or for a sixteenth of a smaller queue."""

MAX_TOGETHER = 64
"""Packets that are handed over together when several are due; the kernel takes 1,024 at most."""


class Control(Enum):
    """What crosses the link besides bytes."""

    OPEN = "open"
    END = "end"
    RESET = "reset"


Payload: TypeAlias = "list[memoryview] | Control"
Sender = TypeVar("Sender")


class Lane(Generic[Sender]):
    """A `Pipe` with the bytes in it, its meters, and the senders that wait for room.

    Part of the queue is what the kernel may hold of the senders that wait, and what is overdue:
    bytes that the link has delivered and a receiver has not taken.
    """

    def __init__(self, direction: Direction) -> None:
        self.pipe = Pipe(direction)
        self.waiting: deque[Sender] = deque()
        self.overdue_bytes = 0
        self.unblocked_s = 0.0
        self.received_bytes = 0
        self.dropped_bytes = 0
        self.delay_error = Histogram()
        self.rate = RateMeter(self.pipe)
        self._items: deque[tuple[float, Sender, memoryview | Control]] = deque()
        self._kernel_bytes = kernel_bytes(direction.queue_bytes)

    def overdue(self, nbytes: int, now_s: float) -> None:
        """Count bytes that a receiver has not taken, or, if negative, has taken now."""
        before = self.overdue_bytes
        self.overdue_bytes += nbytes
        if before and not self.overdue_bytes:
            self.unblocked_s = now_s

    def room_bytes(self, now_s: float) -> int:
        """Return how many bytes may be read now, 0 as long as it is not worth while."""
        unread, worthwhile = self._thresholds()
        room = self.pipe.room_bytes(now_s) - unread - self.overdue_bytes
        return room if room >= worthwhile else 0

    def put(self, arrived_s: float, sender: Sender, data: bytes) -> None:
        """Let bytes that arrived from `sender` wait for the link, packet by packet."""
        self.received_bytes += len(data)
        view = memoryview(data)
        for start in range(0, len(data), PACKET_BYTES):
            packet = view[start : start + PACKET_BYTES]
            self._items.append((self.pipe.send(arrived_s, len(packet)), sender, packet))

    def signal(self, now_s: float, sender: Sender, control: Control) -> None:
        """Let the opening or the end of a connection follow what its sender has sent."""
        self._items.append((self.pipe.send(now_s, CONTROL_BYTES), sender, control))

    def takes_control(self, now_s: float) -> bool:
        """Return whether the queue takes the opening of a connection."""
        return self.pipe.room_bytes(now_s) >= CONTROL_BYTES

    def take(self, now_s: float) -> tuple[Sender, Payload] | None:
        """Take what is due by `now_s`: a control, or packets of one sender in a row."""
        items = self._items
        packets: list[memoryview] = []
        last: Sender | None = None
        while items and items[0][0] <= now_s and len(packets) < MAX_TOGETHER:
            due_s, sender, payload = items[0]
            if packets and (isinstance(payload, Control) or sender is not last):
                break
            items.popleft()
            self.delay_error.add(now_s - due_s)
            if isinstance(payload, Control):
                return sender, payload
            last = sender
            packets.append(payload)
        return None if last is None else (last, packets)

    def wakeup_s(self) -> float:
        """Return when something is due, or room comes back for a sender that waits for it."""
        due_s = self._items[0][0] if self._items else inf
        if not self.waiting or self.overdue_bytes:
            return due_s
        return min(due_s, self.pipe.room_at_s(sum(self._thresholds())))

    def _thresholds(self) -> tuple[int, int]:
        """Return what the kernel may hold, and the least room for which reading goes on."""
        bound = self.pipe.direction.queue_bytes
        unread = min(bound - PACKET_BYTES, max(1, len(self.waiting)) * self._kernel_bytes)
        return unread, min(READ_AT_ROOM_BYTES, bound // READ_AT_SHARE, (bound - unread) // 2)
