"""Which segments the device runs as one graph: where nobody needs the tensors in between."""

from __future__ import annotations

from collections.abc import Iterable, Set

from splitnet.bundle import Bundle, FusedRun
from splitnet.machines.agent_io import RunSegments, run_segments


class DeviceRuns:
    """The stages that lead from one boundary to another on the device.

    A fused run is taken wherever it fits, so a bundle should name only those that replace their
    segments: see `splitnet.machines.fitting`.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._stops = {run.first: run.stop for run in bundle.advice.fused}

    def hides(self, boundary: int) -> bool:
        """Return whether a fused run leads across `boundary`."""
        return any(first < boundary < stop for first, stop in self._stops.items())

    def between(self, first: int, stop: int) -> tuple[RunSegments, ...]:
        """Return the stages from boundary `first` to `stop`, none if it is not further on."""
        stages: list[RunSegments] = []
        begin = at = first
        while at < stop:
            end = self._stops.get(at, stop + 1)
            if end > stop:
                at += 1
                continue
            if begin < at:
                stages.append(run_segments(begin, at))
            stages.append(run_segments(at, end, True))
            begin = at = end
        if begin < stop:
            stages.append(run_segments(begin, stop))
        return tuple(stages)


def apart(fused: Iterable[FusedRun], seen: Set[int]) -> tuple[FusedRun, ...]:
    """Return the runs with no boundary of `seen` inside, none over another; long ones win."""
    taken = set(seen)
    runs: list[FusedRun] = []
    for run in sorted(fused, key=lambda run: run.first - run.stop):
        if taken.isdisjoint(range(run.first + 1, run.stop)):
            runs.append(run)
            taken.update(range(run.first, run.stop + 1))
    return tuple(runs)
