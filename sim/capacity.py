"""How many bytes a link could have carried by a time, and by when it has carried so many.

A link that is never idle carries `bytes_by(t)` bytes from 0 to `t`; everything else, such as when
a byte leaves the queue in front of it, follows from that curve and its inverse.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, inf
from typing import Protocol

OPPORTUNITY_BYTES = 1500
"""What one line of a mahimahi trace carries (mm-link(1): "an MTU-sized packet")."""

ROUNDING_BYTES = 1e-6
"""Differences below this come from floating point."""


class Capacity(Protocol):
    """A non-decreasing curve of bytes over time, and its inverse."""

    def bytes_by(self, time_s: float) -> float:
        """Return the bytes that a link which is never idle has carried from 0 to `time_s`."""

    def time_of(self, nbytes: float) -> float:
        """Return the first time by which `nbytes` have been carried, infinity if there is none."""


class Steps:
    """A rate that changes at given times; the last one holds.

    Parameters
    ----------
    starts_s
        When each rate begins; increasing, the first one 0.
    rates_bps
        The rates; 0 is an outage.
    """

    def __init__(self, starts_s: Sequence[float], rates_bps: Sequence[float]) -> None:
        self._starts_s = list(starts_s)
        self._bytes_per_s = [rate / 8 for rate in rates_bps]
        lengths_s = (b - a for a, b in zip(self._starts_s, self._starts_s[1:], strict=False))
        carried = (s * rate for s, rate in zip(lengths_s, self._bytes_per_s, strict=False))
        self._carried = list(accumulate(carried, initial=0.0))

    def bytes_by(self, time_s: float) -> float:
        """Return the bytes carried by `time_s`."""
        step = bisect_right(self._starts_s, time_s) - 1
        if step < 0:
            return 0.0
        return self._carried[step] + (time_s - self._starts_s[step]) * self._bytes_per_s[step]

    def time_of(self, nbytes: float) -> float:
        """Return the first time by which `nbytes` have been carried."""
        after = bisect_left(self._carried, nbytes)
        if after == 0:
            return 0.0
        step = after - 1
        if self._bytes_per_s[step] == 0.0:
            return inf
        rest_s = (nbytes - self._carried[step]) / self._bytes_per_s[step]
        time_s = self._starts_s[step] + rest_s
        return time_s if after == len(self._carried) else min(time_s, self._starts_s[after])


def constant(rate_bps: float) -> Steps:
    """Return the capacity of a link that always has the same rate."""
    return Steps((0.0,), (rate_bps,))


class Opportunities:
    """Single moments at which `OPPORTUNITY_BYTES` leave, and none after the last one.

    An opportunity that finds the queue empty is lost; one that is not used up serves what comes
    next in the queue (mahimahi, USENIX ATC 2015, section 4.1).

    Parameters
    ----------
    times_s
        The moments, non-decreasing; equal ones add up.
    """

    def __init__(self, times_s: Sequence[float]) -> None:
        self._times_s = times_s

    def bytes_by(self, time_s: float) -> float:
        """Return the bytes of all opportunities up to and with `time_s`."""
        return float(OPPORTUNITY_BYTES * bisect_right(self._times_s, time_s))

    def time_of(self, nbytes: float) -> float:
        """Return the moment at which the last of `nbytes` leaves."""
        if nbytes <= 0:
            return 0.0
        last = ceil((nbytes - ROUNDING_BYTES) / OPPORTUNITY_BYTES) - 1
        return self._times_s[last] if last < len(self._times_s) else inf


class Looped:
    """The first `period_s` of another capacity, over and over.

    Raises
    ------
    ValueError
        Nothing is carried in a period, so that no byte would ever leave.
    """

    def __init__(self, once: Capacity, period_s: float) -> None:
        self._once = once
        self._period_s = period_s
        self._period_bytes = once.bytes_by(period_s)
        if not self._period_bytes > 0:
            raise ValueError("nothing is carried in a period")

    def bytes_by(self, time_s: float) -> float:
        """Return the bytes carried by `time_s`."""
        if time_s < 0:
            return 0.0
        rounds, rest_s = divmod(time_s, self._period_s)
        return rounds * self._period_bytes + self._once.bytes_by(rest_s)

    def time_of(self, nbytes: float) -> float:
        """Return the first time by which `nbytes` have been carried."""
        if nbytes <= 0:
            return 0.0
        rounds = max(0, ceil((nbytes - ROUNDING_BYTES) / self._period_bytes) - 1)
        rest = min(nbytes - rounds * self._period_bytes, self._period_bytes)
        return rounds * self._period_s + min(self._once.time_of(rest), self._period_s)


class Switched:
    """Several capacities in turn: each holds from its start until the next one's.

    Time goes on in a capacity that is not in use: a trace that was interrupted is not resumed
    where it stood, but where it would be by now.

    Parameters
    ----------
    starts_s
        When each capacity begins to hold; increasing, the first one 0.
    parts
        The capacities.
    """

    def __init__(self, starts_s: Sequence[float], parts: Sequence[Capacity]) -> None:
        self._starts_s = list(starts_s)
        self._parts = list(parts)
        at_start = [p.bytes_by(s) for p, s in zip(self._parts, self._starts_s, strict=True)]
        at_start[0] = 0.0
        at_end = [p.bytes_by(e) for p, e in zip(self._parts, self._starts_s[1:], strict=False)]
        carried = (e - s for s, e in zip(at_start, at_end, strict=False))
        self._carried = list(accumulate(carried, initial=0.0))
        self._offsets = [s - c for s, c in zip(at_start, self._carried, strict=True)]

    def bytes_by(self, time_s: float) -> float:
        """Return the bytes carried by `time_s`."""
        part = bisect_right(self._starts_s, time_s) - 1
        if part < 0:
            return 0.0
        return self._parts[part].bytes_by(time_s) - self._offsets[part]

    def time_of(self, nbytes: float) -> float:
        """Return the first time by which `nbytes` have been carried."""
        part = max(0, bisect_left(self._carried, nbytes - ROUNDING_BYTES) - 1)
        time_s = self._parts[part].time_of(nbytes + self._offsets[part])
        last = part + 1 == len(self._starts_s)
        return time_s if last else min(time_s, self._starts_s[part + 1])
