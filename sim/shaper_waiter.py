"""Waiting for sockets with timers that are as exact as the machine lets them be."""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

from splitnet.sim.shaper_meter import Histogram

SPIN_S = 0.00015
"""A sleep ends this much early, and the rest is spent looking at the clock.

On an idle machine a sleep takes about 0.1 ms longer than asked for. One that would be shorter than
this is slept in full: at high rates something is always due soon, and spinning would take a core.
"""

LONGEST_S = 1.0
"""Nobody sleeps longer."""

WAKE_BYTES = 4096
"""Wake-ups that are taken together."""

Ready: TypeAlias = Callable[[int, float], None]
"""Called with the events of a descriptor and the time."""


class Waiter:
    """An epoll set whose waits count in microseconds, and a record of how late they ended.

    Parameters
    ----------
    clock
        Seconds; it begins at 0 with the first call of `now`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.lateness = Histogram()
        self._clock = clock
        self._started_s: float | None = None
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}
        self._owners: dict[int, Ready] = {}
        self._caught: deque[Callable[[], None]] = deque()
        self._wake_in, self._wake_out = os.pipe()
        for descriptor in (self._wake_in, self._wake_out):
            os.set_blocking(descriptor, False)
        self.watch(self._wake_in, select.EPOLLIN, self._woken)

    def now(self) -> float:
        """Return the seconds since the first call."""
        clock_s = self._clock()
        if self._started_s is None:
            self._started_s = clock_s
        return clock_s - self._started_s

    def watch(self, descriptor: int, events: int, owner: Ready) -> None:
        """Call `owner` when one of `events` happens at a descriptor; no events: forget it."""
        before = self._watched.get(descriptor, 0)
        if events == before:
            return
        if not events:
            self._epoll.unregister(descriptor)
            del self._watched[descriptor], self._owners[descriptor]
            return
        if before:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._watched[descriptor], self._owners[descriptor] = events, owner

    def wait(self, until_s: float) -> None:
        """Sleep until a descriptor is ready, at most to `until_s`, and call its owner."""
        began_s = self.now()
        sleep_s = min(until_s - began_s, LONGEST_S)
        ready: list[tuple[int, int]] = []
        if sleep_s > 0:
            spin_s = SPIN_S if sleep_s > SPIN_S else 0.0
            if not select.select([self._epoll], [], [], sleep_s - spin_s)[0]:
                self.lateness.add(max(0.0, self.now() - began_s - sleep_s + spin_s))
                while spin_s and not ready and self.now() < began_s + sleep_s:
                    ready = self._epoll.poll(0)
        for descriptor, events in ready or self._epoll.poll(0):
            if owner := self._owners.get(descriptor):
                owner(events, self.now())
        while self._caught:
            self._caught.popleft()()

    def wake(self) -> None:
        """Let `wait` return; any thread and any signal handler may call this."""
        try:
            os.write(self._wake_out, b"\0")
        except BlockingIOError:
            pass  # the pipe is full of wake-ups already

    def close(self) -> None:
        """Forget everything."""
        self._epoll.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    @contextmanager
    def signals(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
        """Let these signals end a `wait`, which then calls their function."""

        def handle(signum: int, frame: FrameType | None) -> None:
            self._caught.append(handlers[signal.Signals(signum)])

        # The descriptor ends a wait that began between the signal and its handler.
        before_fd = signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        before = {signum: signal.signal(signum, handle) for signum in handlers}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
            signal.set_wakeup_fd(before_fd)

    def _woken(self, events: int, now_s: float) -> None:
        os.read(self._wake_in, WAKE_BYTES)
