"""Warm-up: every stage of the device is run and timed before the first request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

from splitnet.bundle import Bundle
from splitnet.machines.agent_io import Encode, Prepare, RunExit, RunSegments, Stage
from splitnet.machines.runs import DeviceRuns
from splitnet.runtime.device import DeviceRuntime, LoadSample
from splitnet.values import Profile, StageTime

MIN_ROUNDS = 3
"""A median of fewer durations says nothing."""

MAX_ROUNDS = 20
"""More rounds do not move the 95th percentile of a quiet machine."""

BUDGET_S = 0.15
"""Time that rounds beyond the smallest number may take, since an edge must answer soon."""

WARM_UP_REQUEST = 0
"""The agent machine counts its requests from 1."""


def warm_up(
    runtime: DeviceRuntime,
    bundle: Bundle,
    load: LoadSample,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
) -> Profile:
    """Run every stage once to open its graph, then time all stages round by round.

    Parameters
    ----------
    load
        Reads the sample to work on, best a real one: codecs are slower on noise.

    Raises
    ------
    SplitnetError
        A stage fails: a damaged graph, or samples that do not fit the network.
    """
    stages = list(device_stages(bundle))
    durations: dict[Stage, list[float]] = {stage: [] for stage in stages}
    runtime.start(WARM_UP_REQUEST, load)
    try:
        for stage in stages:
            runtime.run(WARM_UP_REQUEST, stage)
        began_s = clock()
        for finished in range(MAX_ROUNDS):
            if finished >= MIN_ROUNDS and clock() - began_s >= budget_s:
                break
            for stage in stages:
                started_s = clock()
                runtime.run(WARM_UP_REQUEST, stage)
                durations[stage].append(clock() - started_s)
    finally:
        runtime.release(WARM_UP_REQUEST)
    times = {stage.keys[0]: _stage_time(found) for stage, found in durations.items()}
    return Profile("warm-up", times, {"rounds": str(len(durations[stages[0]]))})


def device_stages(bundle: Bundle) -> Iterator[Stage]:
    """Yield the stages that `bundle` asks of the device, in order of the graph.

    A fused run stands in for its segments: these, and paths that leave between them, are needed
    only with a worker that serves little, and opened then.
    """
    runs = DeviceRuns(bundle)
    yield Prepare()
    for stage in runs.between(0, len(bundle.contract.segments)):
        single = range(stage.first, stage.stop)
        yield from [stage] if stage.fused else [RunSegments(i, i + 1) for i in single]
    for head in bundle.advice.heads:
        yield RunExit(head.id)
    sent = ((plan.path, plan.level) for plan in bundle.advice.plans)
    for path, level in dict.fromkeys(sent):
        if not runs.hides(bundle.contract.path(path).hops[0].boundary):
            yield Encode(path, level)


def _stage_time(durations: list[float]) -> StageTime:
    ordered = sorted(durations)
    return StageTime(median(ordered), ordered[(95 * len(ordered)) // 100])
