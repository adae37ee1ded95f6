"""Runs of segments as one graph, kept where they are faster than the segments one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Array, Execution, inputs_of
from splitnet.builder.profiling import measure_ratio
from splitnet.builder.segments import GraphFile
from splitnet.bundle import FusedRun
from splitnet.console import Progress
from splitnet.values import Profile, StageTime, fused_stage, segment_stage

PAYS = 0.97
"""A fused run is kept if it takes at most this share of the time of its segments: it is one file
more, and the tensors in between are lost to exits."""


def fused_heads(count: int) -> list[tuple[int, int]]:
    """Return the heads of two or more segments that end at an interior boundary.

    Parameters
    ----------
    count
        Number of segments.
    """
    return [(0, stop) for stop in range(2, count)]


def keep_fused(
    fused: Mapping[tuple[int, int], GraphFile],
    execution: Execution,
    profile: Profile,
    data: Dataset,
    folder: Path,
    progress: Progress,
) -> tuple[tuple[FusedRun, ...], Profile]:
    """Return the runs that pay on this machine, and `profile` with their times.

    They are compared with their segments in turns. The files of the others are deleted.

    Parameters
    ----------
    execution
        Opened as for `profile`, which holds the times of the segments.
    """
    progress.step("measuring fused heads", len(fused))
    boundaries = execution.boundaries(inputs_of(execution.contract, data, [0]))
    kept = []
    times = {}
    for (first, stop), file in fused.items():
        together = partial(execution.run, file.ref, boundaries[first])
        ratio = measure_ratio(together, partial(_chain, execution, first, stop, boundaries[first]))
        if ratio <= PAYS:
            kept.append(FusedRun(first, stop, file.ref))
            apart = [profile.stages[segment_stage(index)] for index in range(first, stop)]
            times[fused_stage(first, stop)] = StageTime(
                ratio * sum(time.p50_s for time in apart), ratio * sum(time.p95_s for time in apart)
            )
        else:
            (folder / file.ref.file).unlink()
        progress.advance(1, file.ref.file)
    return tuple(kept), replace(profile, stages={**profile.stages, **times})


def _chain(execution: Execution, first: int, stop: int, tensors: list[Array]) -> list[Array]:
    for segment in execution.contract.segments[first:stop]:
        tensors = execution.run(segment.graph, tensors)
    return tensors
