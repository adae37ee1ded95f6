"""Fused runs stand in for their segments only where nobody looks in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from splitnet.bundle import Bundle, FusedRun, GraphRef
from splitnet.machines.agent_io import RunSegments
from splitnet.machines.runs import DeviceRuns, apart
from splitnet.values import Plan

GRAPH = GraphRef("fused.onnx", "0" * 64)


def with_runs(
    bundle: Bundle, ends: Sequence[tuple[int, int]], paths: Sequence[str], *, exits: bool = False
) -> Bundle:
    """Return the sample bundle with fused runs, plans on `paths`, with its exit or without."""
    advice = replace(
        bundle.advice,
        fused=tuple(FusedRun(first, stop, GRAPH) for first, stop in ends),
        plans=tuple(Plan(path, 0) for path in paths),
        exits=bundle.advice.exits if exits else (),
    )
    return replace(bundle, advice=advice)


@pytest.mark.parametrize(("seen", "used"), [({0}, True), ({0, 2}, True), ({1}, False)])
def test_what_is_seen_in_between_keeps_the_segments(seen: set[int], used: bool) -> None:
    assert bool(apart([FusedRun(0, 2, GRAPH)], seen)) == used


def test_runs_never_overlap_and_the_longest_wins() -> None:
    runs = [FusedRun(first, stop, GRAPH) for first, stop in [(0, 2), (1, 3), (0, 3)]]
    assert [(run.first, run.stop) for run in apart(runs, {0})] == [(0, 3)]


def test_only_what_lies_inside_is_hidden(sample_bundle: Bundle) -> None:
    runs = DeviceRuns(with_runs(sample_bundle, [(0, 2)], ["c2"]))
    assert [runs.hides(boundary) for boundary in range(4)] == [False, True, False, False]


def test_the_way_from_boundary_to_boundary(sample_bundle: Bundle) -> None:
    runs = DeviceRuns(with_runs(sample_bundle, [(0, 2)], ["c2"]))
    fused, last = RunSegments(0, 2, fused=True), RunSegments(2, 3)
    assert runs.between(0, 2) == (fused,)
    assert runs.between(0, 3) == (fused, last)
    assert runs.between(2, 3) == (last,)
    assert runs.between(0, 1) == (RunSegments(0, 1),)
    assert runs.between(1, 3) == (RunSegments(1, 3),)
    assert runs.between(2, 2) == runs.between(3, 1) == ()


def test_segments_before_a_run_are_a_stage_of_their_own(sample_bundle: Bundle) -> None:
    runs = DeviceRuns(with_runs(sample_bundle, [(1, 3)], ["c1"]))
    assert runs.between(0, 3) == (RunSegments(0, 1), RunSegments(1, 3, fused=True))


def test_a_fused_stage_has_a_key_of_its_own() -> None:
    assert RunSegments(0, 2, fused=True).keys == ("fused:0-2",)
    assert RunSegments(0, 2, fused=True).reaches == 2
