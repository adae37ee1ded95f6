"""Runs of segments as one graph, kept where they are faster than the segments one by one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Execution, inputs_of
from splitnet.builder.profiling import measure
from splitnet.builder.segments import GraphFile
from splitnet.bundle import FusedRun
from splitnet.console import Progress
from splitnet.values import Profile, segment_stage

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
) -> tuple[FusedRun, ...]:
    """Return the runs that pay on this machine, and delete the files of the others.

    Parameters
    ----------
    execution
        Opened as for `profile`, which holds the times of the segments.
    """
    progress.step("measuring fused heads", len(fused))
    boundaries = execution.boundaries(inputs_of(execution.contract, data, [0]))
    kept = []
    for (first, stop), file in fused.items():
        time = measure(partial(execution.run, file.ref, boundaries[first]))
        apart_s = sum(profile.stages[segment_stage(i)].p50_s for i in range(first, stop))
        if time.p50_s <= PAYS * apart_s:
            kept.append(FusedRun(first, stop, file.ref))
        else:
            (folder / file.ref.file).unlink()
        progress.advance(1, file.ref.file)
    return tuple(kept)
