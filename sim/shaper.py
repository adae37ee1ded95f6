"""A link between two TCP sockets of this machine, in real time: the driver of `Pipe`.

The shaper ends TCP on both sides. Bytes of a client wait in the queue of the lane ``up``, leave it
as the capacity allows, and are written to the target when they have arrived; ``down`` likewise.
"""

from __future__ import annotations

import logging
import select
import socket
from collections import Counter, deque
from math import inf

from splitnet.sim.link import Link
from splitnet.sim.shaper_lane import Control, Lane
from splitnet.sim.shaper_leg import Leg
from splitnet.sim.shaper_sockets import Address, accept_from, reset
from splitnet.sim.shaper_waiter import Waiter

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Connections shaped at once; further ones are reset and counted, as without room in the queue."""

HALF_OPEN_S = 925.0
"""A connection that one end has ended is given up when no byte has passed for so long.

So long Linux goes on to repeat what nobody acknowledges (tcp(7), tcp_retries2).
"""

MAX_TURN_BYTES = 65536
"""Reading does not hold up deliveries for longer than that much takes."""

TICK_S = 1.0
"""How often connections are looked over."""


class Shaper:
    """Shapes every connection that `listener` accepts; all share one link.

    Parameters
    ----------
    listener
        Already listening; the shaper closes it.
    target
        Where each connection is made to lead.
    waiter
        Holds clock, timers and descriptors; the link begins with its time 0.
    """

    def __init__(
        self, link: Link, listener: socket.socket, target: Address, waiter: Waiter
    ) -> None:
        self.up: Lane[Leg] = Lane(link.up)
        self.down: Lane[Leg] = Lane(link.down)
        self.counters: Counter[str] = Counter()
        self.waiter = waiter
        self._listener = listener
        self._target = target
        self._resets_s = deque(link.resets_s)
        self._clients: set[Leg] = set()
        self._stopping = False
        self._tick_s = TICK_S

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._clients)

    def stop(self) -> None:
        """Let `run` return; any thread and any signal handler may call this."""
        self._stopping = True
        self.waiter.wake()

    def run(self) -> None:
        """Shape until `stop` is called, then close everything but the waiter."""
        self._listener.setblocking(False)
        self._listen(True)
        try:
            while not self._stopping:
                self.waiter.wait(self._proceed(self.waiter.now()))
        finally:
            self._close_all(by_reset=False)
            self._listen(False)
            self._listener.close()

    def _proceed(self, now_s: float) -> float:
        """Do what is due by `now_s` and return when something is due next."""
        if self._resets_s and self._resets_s[0] <= now_s:
            self._resets_s.popleft()
            self.counters["reset_by_schedule"] += len(self._clients)
            self._close_all(by_reset=True)
        for lane in (self.up, self.down):
            lane.rate.roll(now_s)
            self._deliver(lane)
            self._resume(lane)
        if self._tick_s <= now_s:
            self._tick_s = now_s + TICK_S
            self._listen(True)
            self._give_up_half_open(now_s)
        next_reset_s = self._resets_s[0] if self._resets_s else inf
        return min(self.up.wakeup_s(), self.down.wakeup_s(), next_reset_s, self._tick_s)

    def _deliver(self, lane: Lane[Leg]) -> None:
        """Hand over what has arrived at the far end of a lane."""
        now_s = self.waiter.now()
        while taken := lane.take(now_s):
            sender, payload = taken
            if payload is Control.OPEN:
                sender.peer.connect(self._target, now_s)
            else:
                sender.peer.deliver(payload, now_s)
            now_s = self.waiter.now()

    def _resume(self, lane: Lane[Leg]) -> None:
        """Read from senders that waited, in turn, as long as there is room."""
        now_s = self.waiter.now()
        left_bytes = MAX_TURN_BYTES
        while lane.waiting and left_bytes > 0 and lane.room_bytes(now_s):
            left_bytes -= lane.waiting.popleft().read(now_s)

    def _listen(self, enabled: bool) -> None:
        events = select.EPOLLIN if enabled else 0
        self.waiter.watch(self._listener.fileno(), events, self._accept)

    def _accept(self, events: int, now_s: float) -> None:
        try:
            accepted = accept_from(self._listener)
        except BlockingIOError:
            return  # the client has left already
        except OSError as error:
            self.counters["accept_failed"] += 1
            log.warning("cannot accept a connection error=%r", error.strerror)
            self._listen(False)  # until the next tick
            return
        if len(self._clients) == MAX_CONNECTIONS or not self.up.takes_control(now_s):
            self.counters["turned_away"] += 1
            reset(accepted)
            return
        self.counters["accepted"] += 1
        client = Leg(self.up, self.down, self.waiter, self.counters, self._over)
        target = Leg(self.down, self.up, self.waiter, self.counters, self._over)
        client.join(target)
        self._clients.add(client)
        client.accepted(accepted, now_s)

    def _over(self, leg: Leg) -> None:
        if leg.peer.over:
            self._clients -= {leg, leg.peer}

    def _give_up_half_open(self, now_s: float) -> None:
        for client in list(self._clients):
            legs = (client, client.peer)
            ended = any(not leg.source_open for leg in legs)
            if ended and all(now_s - leg.active_s > HALF_OPEN_S for leg in legs):
                self.counters["half_open"] += 1
                log.warning("half-open connection reset after_s=%g", HALF_OPEN_S)
                self._close(client, by_reset=True)

    def _close_all(self, *, by_reset: bool) -> None:
        for client in list(self._clients):
            self._close(client, by_reset=by_reset)

    def _close(self, client: Leg, *, by_reset: bool) -> None:
        now_s = self.waiter.now()
        for leg in (client, client.peer):
            leg.close(now_s, by_reset=by_reset)
