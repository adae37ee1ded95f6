"""How long each stage takes on this device: the warm-up's profile, corrected while running."""

from __future__ import annotations

from collections import deque

from splitnet.machines.agent_io import Stage
from splitnet.values import Profile, StageTime

WINDOW = 32
"""Durations kept for each stage; enough for a 95th percentile that follows a throttling device."""

SAME = 0.05
"""An estimate that moves by less than this share is kept: it is within the noise of its window."""

REFRESH = 8
"""An estimate is renewed after so many durations; before the first time, the warm-up's holds."""


class StageTimes:
    """Median and 95th percentile of every stage, and of sequences of stages.

    `version` changes whenever an estimate does.
    """

    def __init__(self, profile: Profile) -> None:
        self._times = dict(profile.stages)
        self._window: dict[str, deque[float]] = {}
        self._count: dict[str, int] = {}
        self._sums: dict[tuple[str, ...], StageTime] = {}
        self.version = 0

    def get(self, stage: str) -> StageTime:
        """Return the current estimate; a stage that was never measured costs nothing."""
        return self._times.get(stage, _UNKNOWN)

    def observe(self, stage: Stage, duration_s: float) -> None:
        """Take the duration of a stage; one that runs several segments is shared out among them."""
        keys = stage.keys
        if len(keys) == 1:
            self._observe(keys[0], duration_s)
            return
        expected_s = self.of(stage).p50_s
        for key in keys:
            share = self.get(key).p50_s / expected_s if expected_s > 0 else 1 / len(keys)
            self._observe(key, share * duration_s)

    def _observe(self, key: str, duration_s: float) -> None:
        window = self._window.get(key)
        if window is None:
            window = self._window[key] = deque(maxlen=WINDOW)
        window.append(duration_s)
        count = self._count[key] = self._count.get(key, 0) + 1
        if count % REFRESH == 0:
            ordered = sorted(window)
            found = StageTime(
                p50_s=ordered[len(ordered) // 2], p95_s=ordered[(95 * len(ordered)) // 100]
            )
            if not _alike(found, self.get(key)):
                self._times[key] = found
                self._sums.clear()
                self.version += 1

    def p50_s(self, *stages: Stage) -> float:
        """Return the expected time of the stages one after the other."""
        total_s = 0.0
        for stage in stages:
            total_s += self.of(stage).p50_s
        return total_s

    def p95_s(self, *stages: Stage) -> float:
        """Return a cautious time of the stages: the sum of their 95th percentiles."""
        total_s = 0.0
        for stage in stages:
            total_s += self.of(stage).p95_s
        return total_s

    def of(self, stage: Stage) -> StageTime:
        """Return the times of a stage: its parts together, added up until one of them changes."""
        time = self._sums.get(stage.keys)
        if time is None:
            parts = [self.get(key) for key in stage.keys]
            time = StageTime(sum(part.p50_s for part in parts), sum(part.p95_s for part in parts))
            self._sums[stage.keys] = time
        return time


_UNKNOWN = StageTime(0.0, 0.0)


def _alike(one: StageTime, other: StageTime) -> bool:
    return (
        abs(one.p50_s - other.p50_s) <= SAME * other.p50_s
        and abs(one.p95_s - other.p95_s) <= SAME * other.p95_s
    )
