"""Virtual time: what happens next is what is due next; no clock is read and nobody waits.

Events are ordered by (time, priority, sequence), as in SimPy: two runs that schedule the same
events run them in the same order, to the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

from splitnet.errors import SplitnetError

CHANGE, ARRIVAL, TIMER = 0, 1, 2
"""Priorities of what is due at the same time.

The world changes first. What arrives at the very moment still counts, so timers come last.
"""

MAX_AT_ONCE = 100_000
"""Events at one moment, beyond which something asks for the same moment over and over."""


class Kernel:
    """A heap of events, and the time of the latest one."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._stopped = False

    def at(
        self, time_s: float, do: Callable[..., None], *arguments: Any, priority: int = ARRIVAL
    ) -> None:
        """Call ``do(*arguments)`` at `time_s`, which does not lie in the past."""
        assert time_s >= self.now_s, f"{time_s} s lies before {self.now_s} s"
        self._sequence += 1
        heappush(self._heap, (time_s, priority, self._sequence, do, arguments))

    def stop(self) -> None:
        """End `run` after the present event."""
        self._stopped = True

    def run(self, until_s: float = inf) -> None:
        """Let everything happen that is due by `until_s`, until nothing is due or `stop`.

        Raises
        ------
        SplitnetError
            Time stands still: a machine asks for the present moment over and over.
        """
        heap = self._heap
        at_once = 0
        while not self._stopped and heap and heap[0][0] <= until_s:
            time_s, _, _, do, arguments = heappop(heap)
            at_once = at_once + 1 if time_s == self.now_s else 0
            if at_once > MAX_AT_ONCE:
                raise SplitnetError(
                    f"time stands still at {time_s} s: more than {MAX_AT_ONCE} events, the last "
                    f"one is {do}; this is an error of splitnet, please report the scenario"
                )
            self.now_s = time_s
            do(*arguments)


class Alarm:
    """The one timer of a machine that changes its mind about it with every event.

    A moment that is put off costs nothing: the timer set for the earlier one finds that it came
    too soon and sets itself again.
    """

    def __init__(self, kernel: Kernel, ring: Callable[[], None]) -> None:
        self._kernel = kernel
        self._ring = ring
        self._wanted_s: float | None = None
        self._armed_s = inf

    def set(self, time_s: float | None) -> None:
        """Ring at `time_s` and not before; ``None`` means never."""
        self._wanted_s = time_s
        if time_s is not None and time_s < self._armed_s:
            self._armed_s = max(time_s, self._kernel.now_s)
            self._kernel.at(self._armed_s, self._fire, self._armed_s, priority=TIMER)

    def _fire(self, armed_s: float) -> None:
        if armed_s != self._armed_s:  # another timer was set for an earlier moment since
            return
        self._armed_s = inf
        if self._wanted_s is not None and self._wanted_s <= self._kernel.now_s:
            self._ring()
        else:
            self.set(self._wanted_s)
