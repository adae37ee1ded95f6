"""How long each stage takes on this device: the warm-up's profile, corrected while running."""

from __future__ import annotations

from collections import Counter, deque
from functools import cache

from splitnet.machines.agent_io import Encode, Prepare, RunExit, RunSegments, Stage
from splitnet.values import (
    PREPARE_STAGE,
    Profile,
    StageTime,
    encode_stage,
    exit_stage,
    segment_stage,
)

WINDOW = 32
"""Durations kept for each stage; enough for a 95th percentile that follows a throttling device."""

REFRESH = 8
"""An estimate is renewed after so many durations; before the first time, the warm-up's holds."""


class StageTimes:
    """Median and 95th percentile of every stage, and of sequences of stages.

    `version` changes whenever an estimate does.
    """

    def __init__(self, profile: Profile) -> None:
        self._times = dict(profile.stages)
        self._window: dict[str, deque[float]] = {}
        self._count: Counter[str] = Counter()
        self.version = 0

    def get(self, stage: str) -> StageTime:
        """Return the current estimate; a stage that was never measured costs nothing."""
        return self._times.get(stage, _UNKNOWN)

    def observe(self, stage: Stage, duration_s: float) -> None:
        """Take the duration of a stage; one that runs several segments is shared out among them."""
        keys = stage_keys(stage)
        expected_s = sum(self.get(key).p50_s for key in keys)
        for key in keys:
            share = self.get(key).p50_s / expected_s if expected_s > 0 else 1 / len(keys)
            self._observe(key, share * duration_s)

    def _observe(self, key: str, duration_s: float) -> None:
        window = self._window.setdefault(key, deque(maxlen=WINDOW))
        window.append(duration_s)
        self._count[key] += 1
        if self._count[key] % REFRESH == 0:
            self.version += 1
            ordered = sorted(window)
            self._times[key] = StageTime(
                p50_s=ordered[len(ordered) // 2], p95_s=ordered[(95 * len(ordered)) // 100]
            )

    def p50_s(self, *stages: Stage) -> float:
        """Return the expected time of the stages one after the other."""
        return sum(self.get(key).p50_s for stage in stages for key in stage_keys(stage))

    def p95_s(self, *stages: Stage) -> float:
        """Return a cautious time of the stages: the sum of their 95th percentiles."""
        return sum(self.get(key).p95_s for stage in stages for key in stage_keys(stage))


_UNKNOWN = StageTime(0.0, 0.0)


@cache
def stage_keys(stage: Stage) -> tuple[str, ...]:
    """Return the profile keys that a stage consists of."""
    if isinstance(stage, RunSegments):
        return tuple(segment_stage(index) for index in range(stage.first, stage.stop))
    if isinstance(stage, RunExit):
        return (exit_stage(stage.exit),)
    if isinstance(stage, Encode):
        return (encode_stage(stage.path, stage.level),)
    assert isinstance(stage, Prepare)
    return (PREPARE_STAGE,)
