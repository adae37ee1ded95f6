"""When a byte that has left the queue arrives: propagation, jitter and outages, in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf

_MASK = (1 << 64) - 1


class Delay:
    """A delay with seeded jitter that never reorders.

    Jitter is a function of time, not of packets: in each slot of ``2 * jitter_s`` it is one value,
    drawn evenly from -`jitter_s` to `jitter_s`. So the shaper and the simulator see the same jitter
    at the same time, however the bytes were cut. What would overtake arrives together with what
    is in front of it.

    Parameters
    ----------
    starts_s, delays_s
        When each delay begins to hold; increasing, the first one 0. None may be below `jitter_s`.
    outages_s
        Periods (start, end) in which nothing arrives; what would, arrives at the end.
    """

    def __init__(
        self,
        starts_s: Sequence[float],
        delays_s: Sequence[float],
        jitter_s: float = 0.0,
        seed: int = 0,
        outages_s: Sequence[tuple[float, float]] = (),
    ) -> None:
        self._starts_s = list(starts_s)
        self._delays_s = list(delays_s)
        self._jitter_s = jitter_s
        self._slot_s = 2 * jitter_s
        self._seed = seed
        self._outages_s = list(outages_s)
        self._outage_starts_s = [start for start, _ in self._outages_s]
        # For each delay: when the last byte under the one before it arrives.
        self._floors_s = [0.0]
        for start_s in self._starts_s[1:]:
            self._floors_s.append(self._in_order(start_s, len(self._floors_s) - 1))

    def at(self, depart_s: float) -> float:
        """Return the delay without jitter that holds at `depart_s`."""
        return self._delays_s[max(0, bisect_right(self._starts_s, depart_s) - 1)]

    def arrival_s(self, depart_s: float) -> float:
        """Return when a byte that leaves the queue at `depart_s` arrives; non-decreasing."""
        if depart_s == inf:
            return inf
        step = 0 if len(self._starts_s) == 1 else bisect_right(self._starts_s, depart_s) - 1
        arrival_s = self._in_order(depart_s, max(0, step))
        outage = bisect_right(self._outage_starts_s, arrival_s) - 1
        return arrival_s if outage < 0 else max(arrival_s, self._outages_s[outage][1])

    def quiet(self, from_s: float, to_s: float) -> bool:
        """Return whether the delay stays the same and no outage falls between two times."""
        steps = bisect_right(self._starts_s, to_s) - bisect_right(self._starts_s, from_s)
        return steps == 0 and not any(s < to_s and e > from_s for s, e in self._outages_s)

    def _in_order(self, depart_s: float, step: int) -> float:
        """Return the arrival under the delay `step`, not before that of anything earlier."""
        arrival_s = depart_s + self._delays_s[step]
        if not self._jitter_s:
            return max(arrival_s, self._floors_s[step])
        slot = int(depart_s / self._slot_s)
        arrival_s = max(arrival_s + self._jitter(slot), self._floors_s[step])
        if not slot:
            return arrival_s
        # A slot is as long as jitter can differ, so only the slot before can still be in the way.
        began_s = slot * self._slot_s
        before = max(0, bisect_left(self._starts_s, began_s) - 1)
        return max(arrival_s, began_s + self._delays_s[before] + self._jitter(slot - 1))

    def _jitter(self, slot: int) -> float:
        return self._jitter_s * (2 * _uniform(self._seed, slot) - 1)


def _uniform(seed: int, index: int) -> float:
    """Return the number in [0, 1) that stands at `index` of a seeded sequence.

    Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), which can be entered anywhere.
    """
    z = (seed * 0xD1342543DE82EF95 + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) / 2**64
