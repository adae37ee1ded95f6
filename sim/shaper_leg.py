"""The two ends of a shaped connection: a socket to the client, another one to the target."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice

from splitnet.sim.shaper_lane import MAX_TOGETHER, Control, Lane, Payload
from splitnet.sim.shaper_sockets import Address, connecting_to, reset, unread_bytes
from splitnet.sim.shaper_waiter import Waiter

log = logging.getLogger(__name__)

CATCH_UP_S = 0.05
"""What a late reader may make up for.

Bytes that have been waiting since before take the capacity of the time that has passed since, as if
they had been read at once; beyond this, the link was idle.
"""

READ_BYTES = 65536
"""Read at once at most."""


class Leg:
    """One end of a connection; what is read from its socket crosses the lane `sends` to its `peer`.

    Parameters
    ----------
    takes
        The lane that delivers to this end.
    on_over
        Called once, when the socket is closed.

    Attributes
    ----------
    active_s
        When a byte passed last.
    source_open, sink_open
        Whether more may come from here, and whether more may be delivered here.
    over
        Whether the socket is closed for good.
    """

    def __init__(
        self,
        sends: Lane[Leg],
        takes: Lane[Leg],
        waiter: Waiter,
        counters: Counter[str],
        on_over: Callable[[Leg], None],
    ) -> None:
        self.active_s = 0.0
        self.source_open = self.sink_open = True
        self.over = False
        self._sends = sends
        self._takes = takes
        self._waiter = waiter
        self._counters = counters
        self._on_over = on_over
        self._peer: Leg | None = None
        self._socket: socket.socket | None = None
        self._connected = False
        self._outbox: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._overdue_bytes = 0
        self._ending = False
        self._waits_for_room = False
        self._unread_since_s: float | None = None

    @property
    def peer(self) -> Leg:
        """The other end of the connection."""
        assert self._peer is not None
        return self._peer

    def join(self, peer: Leg) -> None:
        """Make two legs a connection."""
        self._peer, peer._peer = peer, self

    def accepted(self, connected: socket.socket, now_s: float) -> None:
        """Begin with a connection that a client has made."""
        self._socket, self._connected = connected, True
        self.active_s = now_s
        self._sends.signal(now_s, self, Control.OPEN)
        self._watch()

    def connect(self, target: Address, now_s: float) -> None:
        """Begin to connect to the target."""
        if self.over:
            return
        self._socket, error = connecting_to(target, self._sends.pipe.direction.queue_bytes)
        self.active_s = now_s
        if error not in (0, errno.EINPROGRESS):
            self._refused(error, now_s)
            return
        self._watch()

    def deliver(self, payload: Payload, now_s: float) -> None:
        """Take what has crossed the link, save the opening of the connection."""
        if isinstance(payload, Control):
            if payload is Control.RESET:
                self.close(now_s, by_reset=True)
            else:
                self._ending = True
                self._flush(now_s)
            return
        nbytes = sum(map(len, payload))
        self._takes.rate.add(nbytes)
        if not self.sink_open:
            self._takes.dropped_bytes += nbytes
            return
        self.active_s = now_s
        self._outbox.extend(payload)
        self._unsent_bytes += nbytes
        self._flush(now_s)

    def read(self, now_s: float) -> int:
        """Read what there is room for, let it cross the link, and return how much that was."""
        if self._socket is None or not self.source_open:
            return 0
        self._waits_for_room = False
        room = self._sends.room_bytes(now_s)
        data = None
        if room:
            try:
                data = self._socket.recv(min(room, READ_BYTES))
            except BlockingIOError:
                pass
            except OSError:
                self._broken(now_s)
                return 0
        if data == b"":
            self.source_open = False
            self._sends.signal(now_s, self, Control.END)
            self._watch()
            self._finish(now_s)
            return 0
        if data:
            self.active_s = now_s
            self._sends.put(self._arrived_s(now_s), self, data)
        self._wait_for_more(now_s, room)
        return len(data or b"")

    def close(self, now_s: float, *, by_reset: bool) -> None:
        """Close the socket and forget what has not been written."""
        if self.over:
            return
        self.over = True
        self.source_open = self.sink_open = False
        self._takes.dropped_bytes += self._unsent_bytes
        self._unsent_bytes = 0
        self._outbox.clear()
        self._settle(now_s)
        if self._waits_for_room:
            self._sends.waiting.remove(self)
            self._waits_for_room = False
        if self._socket is not None:
            self._waiter.watch(self._socket.fileno(), 0, self._ready)
            if by_reset:
                reset(self._socket)
            else:
                self._socket.close()
            self._socket = None
        self._on_over(self)

    # --- reading --------------------------------------------------------------------------------

    def _arrived_s(self, now_s: float) -> float:
        """Return since when what has just been read has been waiting, as far as that is known."""
        if self._unread_since_s is None:
            return now_s
        return max(self._unread_since_s, self._sends.unblocked_s, now_s - CATCH_UP_S)

    def _wait_for_more(self, now_s: float, room: int) -> None:
        """Wait for room if there is none or something is left to read, else for the sender."""
        assert self._socket is not None
        unread = unread_bytes(self._socket) > 0
        if not unread:
            self._unread_since_s = None
        elif self._unread_since_s is None:
            self._unread_since_s = now_s
        self._waits_for_room = unread or not room
        if self._waits_for_room:
            self._sends.waiting.append(self)
        self._watch()

    # --- writing --------------------------------------------------------------------------------

    def _flush(self, now_s: float) -> None:
        """Write as much as the kernel takes, and the end if it is time."""
        if self._socket is None:
            return
        try:
            while self._outbox and self._connected:
                self._sent(self._socket.sendmsg(list(islice(self._outbox, MAX_TOGETHER))))
            if self._ending and self.sink_open and self._connected:
                self.sink_open = False
                self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._broken(now_s)
            return
        self._settle(now_s)
        self._watch()
        self._finish(now_s)

    def _settle(self, now_s: float) -> None:
        """Let the lane know what it has delivered and nobody has taken."""
        if self._unsent_bytes != self._overdue_bytes:
            self._takes.overdue(self._unsent_bytes - self._overdue_bytes, now_s)
            self._overdue_bytes = self._unsent_bytes

    def _sent(self, nbytes: int) -> None:
        self._unsent_bytes -= nbytes
        while nbytes:
            packet = self._outbox.popleft()
            if nbytes < len(packet):
                self._outbox.appendleft(packet[nbytes:])
                return
            nbytes -= len(packet)

    # --- the socket -----------------------------------------------------------------------------

    def _ready(self, events: int, now_s: float) -> None:
        if self._socket is None:
            return  # closed by what came before it in the same batch
        if not self._connected:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._refused(error, now_s)
                return
            self._connected = True
            self._flush(now_s)
        elif events & select.EPOLLOUT:
            self._flush(now_s)
        if events & ~select.EPOLLOUT and not self._waits_for_room:
            self.read(now_s)

    def _watch(self) -> None:
        """Ask for what matters now; a socket of which nothing matters is not watched at all."""
        if self._socket is None:
            return
        events = 0
        if self._connected and self.source_open and not self._waits_for_room:
            events |= select.EPOLLIN
        if self._outbox or not self._connected:
            events |= select.EPOLLOUT
        self._waiter.watch(self._socket.fileno(), events, self._ready)

    def _refused(self, error: int, now_s: float) -> None:
        self._counters["refused_by_target"] += 1
        first = self._counters["refused_by_target"] == 1
        level = logging.WARNING if first else logging.INFO
        log.log(level, "the target accepts no connection error=%r", os.strerror(error))
        self._give_up(now_s)

    def _broken(self, now_s: float) -> None:
        self._counters["broken"] += 1
        self._give_up(now_s)

    def _give_up(self, now_s: float) -> None:
        """Close this end, and let the other one be reset behind what is under way to it."""
        self.close(now_s, by_reset=True)
        if not self.peer.over:
            self._sends.signal(now_s, self, Control.RESET)

    def _finish(self, now_s: float) -> None:
        """Close the connection when both ends have ended it."""
        legs = (self, self.peer)
        if not any(leg.source_open or leg.sink_open for leg in legs):
            for leg in legs:
                leg.close(now_s, by_reset=False)
