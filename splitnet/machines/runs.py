"""Which segments the device runs as one graph: where nobody needs the tensors in between."""

from __future__ import annotations

from splitnet.bundle import Bundle, FusedRun
from splitnet.machines.agent_io import RunSegments, run_segments


class DeviceRuns:
    """The stages that lead from one boundary to another on the device.

    A fused run replaces its segments for good: nothing ever opens both, so their weights are in
    memory once. Hence it is taken only if no plan leaves and no exit stands between its ends.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._stops = {run.first: run.stop for run in usable_runs(bundle)}

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


def usable_runs(bundle: Bundle) -> tuple[FusedRun, ...]:
    """Return the fused runs that can replace their segments, none over another; long ones win."""
    advice = bundle.advice
    taken = {bundle.contract.path(plan.path).hops[0].boundary for plan in advice.plans}
    taken |= {head.boundary for head in advice.exits}
    runs: list[FusedRun] = []
    for run in sorted(advice.fused, key=lambda run: run.first - run.stop):
        if taken.isdisjoint(range(run.first + 1, run.stop)):
            runs.append(run)
            taken.update(range(run.first, run.stop + 1))
    return tuple(runs)
