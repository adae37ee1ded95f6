"""How well the shaper keeps what it promises: errors of delay and rate, lateness of timers."""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Any

from splitnet.sim.link import Pipe

BIN_S = 10e-6
BINS = 50_000
"""Half a second in bins of 10 us; what is later counts as the last bin, but not in the maximum."""

WINDOW_S = 1.0
MAX_WINDOWS = 3600
"""Windows remembered; the oldest ones go first."""


class Histogram:
    """Durations in bins of 10 us, so that hours of them take no more memory than a second."""

    def __init__(self) -> None:
        self.count = 0
        self.max_s = 0.0
        self._bins = [0] * BINS

    def add(self, duration_s: float) -> None:
        """Count a duration."""
        self._bins[min(BINS - 1, max(0, int(duration_s / BIN_S)))] += 1
        self.count += 1
        self.max_s = max(self.max_s, duration_s)

    def percentile_s(self, percent: float) -> float:
        """Return the upper edge of the bin that holds the percentile, 0 if nothing was counted."""
        rank = max(1, ceil(self.count * percent / 100))
        seen = 0
        for index, count in enumerate(self._bins):
            seen += count
            if seen >= rank:
                return min((index + 1) * BIN_S, self.max_s)
        return 0.0

    def to_json(self) -> dict[str, Any]:
        """Return count, median, 95th percentile and maximum in milliseconds."""
        return {
            "count": self.count,
            "p50": _ms(self.percentile_s(50)),
            "p95": _ms(self.percentile_s(95)),
            "max": _ms(self.max_s),
        }


class RateMeter:
    """Compares what a direction delivered in windows of 1 s with what its capacity would carry.

    Only windows count in which the queue was never empty and neither delay nor outage changed
    anything: in any other there is no rate to compare with.
    """

    def __init__(self, pipe: Pipe) -> None:
        self.delivered_bytes = 0
        self._pipe = pipe
        self._ends_s = WINDOW_S
        self._in_window = 0
        self._busy: deque[tuple[float, int]] = deque(maxlen=MAX_WINDOWS)
        self._idle = 0

    def add(self, nbytes: int) -> None:
        """Count bytes delivered now; `roll` comes first."""
        self.delivered_bytes += nbytes
        self._in_window += nbytes

    def roll(self, now_s: float) -> None:
        """Close the windows that are over by `now_s`."""
        while self._ends_s <= now_s:
            self._close(self._ends_s)
            self._ends_s += WINDOW_S

    def to_json(self) -> dict[str, Any]:
        """Return the number of windows, the mean rates and the errors of single windows."""
        windows: dict[str, Any] = {"busy": len(self._busy), "other": self._idle}
        if self._busy:
            asked = sum(asked for asked, _ in self._busy)
            delivered = sum(delivered for _, delivered in self._busy)
            seconds = WINDOW_S * len(self._busy)
            off_bytes = sorted(abs(got - asked) for asked, got in self._busy)
            off = sorted(abs(got - asked) / asked for asked, got in self._busy if asked)
            windows |= {
                "asked_mbps": round(8e-6 * asked / seconds, 4),
                "delivered_mbps": round(8e-6 * delivered / seconds, 4),
                "error_percent_p95": round(100 * _rank(off, 95), 3) if off else None,
                "error_percent_max": round(100 * off[-1], 3) if off else None,
                "error_bytes_max": round(off_bytes[-1]),
            }
        return windows

    def _close(self, end_s: float) -> None:
        direction = self._pipe.direction
        delay_s = direction.delay.at(end_s)
        from_s, to_s = end_s - WINDOW_S - delay_s, end_s - delay_s
        busy = (
            from_s >= self._pipe.busy_since_s
            and self._pipe.backlog_bytes(to_s) > 0
            and direction.delay.quiet(from_s, end_s)
        )
        if busy:
            asked = direction.capacity.bytes_by(to_s) - direction.capacity.bytes_by(from_s)
            self._busy.append((asked, self._in_window))
        else:
            self._idle += 1
        self._in_window = 0


def _rank(ordered: list[float], percent: float) -> float:
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def _ms(duration_s: float) -> float:
    return round(1000 * duration_s, 3)
