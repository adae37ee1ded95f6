"""A bundle fitted to a device: fewer plans to price, fused runs where they pay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from splitnet.bundle import Bundle
from splitnet.errors import UnknownNameError
from splitnet.machines.fitting import fitted
from splitnet.machines.options import OptionBook
from splitnet.machines.request import Request
from splitnet.machines.stage_times import StageTimes
from splitnet.machines.worker import WorkerMachine
from splitnet.policies.making import make_policy
from splitnet.values import OptionKind, Profile, StageTime
from tests.machines.conftest import World
from tests.machines.test_runs import with_runs

MILLISECOND = StageTime(0.001, 0.001)


def profile_of(bundle: Bundle, **stages: StageTime) -> Profile:
    profile = bundle.advice.profiles[0]
    return replace(profile, stages={**profile.stages, **stages})


def keys(bundle: Bundle) -> list[str]:
    return [plan.key for plan in bundle.advice.plans]


def test_a_policy_that_follows_one_plan_needs_no_other(sample_bundle: Bundle) -> None:
    profile = profile_of(sample_bundle)
    assert keys(fitted(sample_bundle, make_policy("fixed:plan=c1@0"), profile)) == ["c1@0"]
    assert keys(fitted(sample_bundle, make_policy("fixed:plan=device:end"), profile)) == []


def test_a_plan_that_the_bundle_lacks_is_refused_with_all_that_it_has(
    sample_bundle: Bundle,
) -> None:
    with pytest.raises(UnknownNameError, match=r"'c9@0'.*input@0.*bottleneck@1\+exits"):
        fitted(sample_bundle, make_policy("fixed:plan=c9@0"), profile_of(sample_bundle))


def test_no_path_takes_another_one_away(alike: Bundle) -> None:
    """The cut c1 sends twice what the input has, and c2 no less; but who knows the worker?"""
    bundle = with_runs(alike, [], ["input", "c1", "c2"])
    left = keys(fitted(bundle, make_policy("greedy"), profile_of(bundle)))
    assert left == ["input@0", "c1@0", "c2@0"]


def test_a_level_that_another_of_its_path_beats_is_never_priced(sample_bundle: Bundle) -> None:
    table = sample_bundle.table
    twice = table.paths["c1", 0]
    paths = {**table.paths, ("c1", 1): twice._replace(bytes=2 * twice.bytes)}
    bundle = replace(sample_bundle, table=replace(table, paths=paths))
    left = keys(fitted(bundle, make_policy("greedy"), profile_of(bundle)))
    assert "c1@0" in left and "c1@1" not in left


def hiding(bundle: Bundle) -> Bundle:
    """Return a bundle with a fused run over the cut c1, which the input beats."""
    bundle = with_runs(bundle, [(0, 2)], ["input", "c1", "c2"])
    profile = profile_of(bundle, **{"fused:0-2": StageTime(0.007, 0.007)})
    bundle = replace(bundle, advice=replace(bundle.advice, profiles=(profile,)))
    return fitted(bundle, make_policy("greedy"), profile)


@pytest.mark.parametrize(
    ("served", "offered"),
    [
        (["input", "c1", "c2"], ["input@0", "c2@0"]),
        (["c1", "c2"], ["c1@0", "c2@0"]),
        (["c1"], ["c1@0"]),
        (["c2"], ["c2@0"]),
        ([], []),
    ],
    ids=" ".join,
)
def test_what_a_worker_does_not_serve_gives_way_to_what_it_does(
    alike: Bundle, served: list[str], offered: list[str]
) -> None:
    bundle = hiding(alike)
    assert [run.stop for run in bundle.advice.fused] == [2]
    book = OptionBook(bundle, StageTimes(bundle.advice.profiles[0]))
    request = Request(id=1, frame=0, arrived_s=0.0, due_s=1.0, deadline_s=1.0)
    ways = book.options(request, 1.0, frozenset(served))
    assert [way.plan.key for way in ways if way.kind is OptionKind.OFFLOAD] == offered


def test_a_request_leaves_inside_a_fused_run_if_the_worker_serves_nothing_else(
    alike: Bundle,
) -> None:
    world = World(hiding(alike), policy="fixed:plan=c1@0")
    contract = world.bundle.contract
    only = replace(contract, paths=(contract.path("c1"),))
    world.worker = WorkerMachine({0: only}, world.worker_config, epoch=1)
    world.frames(1, 0.05)
    world.run(1.0)
    (answer,) = world.delivered
    assert answer.provenance.answered_by == "cloud"
    assert {"segment:0", "encode:c1@0"} <= answer.provenance.stages_s.keys()


@pytest.mark.parametrize(
    ("time_s", "used"), [(0.007, True), (0.009, False)], ids=["pays", "does not"]
)
def test_a_fused_run_is_used_where_the_profile_says_that_it_pays(
    sample_bundle: Bundle, time_s: float, used: bool
) -> None:
    bundle = with_runs(sample_bundle, [(0, 2)], ["input", "c2"])
    profile = profile_of(bundle, **{"fused:0-2": StageTime(time_s, time_s)})
    found = fitted(bundle, make_policy("fixed:plan=c2@0"), profile)
    assert bool(found.advice.fused) == used


def test_a_fused_run_that_the_profile_does_not_know_is_not_used(sample_bundle: Bundle) -> None:
    bundle = with_runs(sample_bundle, [(0, 2)], ["input", "c2"])
    policy = make_policy("fixed:plan=c2@0")
    assert fitted(bundle, policy, profile_of(bundle)).advice.fused == ()


def test_a_plan_in_between_keeps_the_segments(sample_bundle: Bundle) -> None:
    bundle = with_runs(sample_bundle, [(0, 2)], ["c1", "c2"])
    profile = profile_of(bundle, **{"fused:0-2": MILLISECOND})
    assert fitted(bundle, make_policy("fixed:plan=c1@0"), profile).advice.fused == ()
    assert fitted(bundle, make_policy("fixed:plan=c2@0"), profile).advice.fused != ()


def test_fitting_again_changes_nothing(sample_bundle: Bundle) -> None:
    bundle = with_runs(sample_bundle, [(0, 2)], ["input", "c2"])
    profile = profile_of(bundle, **{"fused:0-2": MILLISECOND})
    once = fitted(bundle, make_policy("greedy"), profile)
    assert fitted(once, make_policy("greedy"), profile) == once


def test_requests_run_the_fused_stage_and_its_time_is_known(sample_bundle: Bundle) -> None:
    bundle = with_runs(sample_bundle, [(0, 2)], ["c2"])
    profile = profile_of(bundle, **{"fused:0-2": StageTime(0.005, 0.006)})
    advice = replace(bundle.advice, profiles=(profile,))
    world = World(replace(bundle, advice=advice), policy="fixed:plan=c2@0")
    world.frames(1, 0.05)
    world.run(1.0)
    (answer,) = world.delivered
    assert answer.provenance.answered_by == "cloud"
    assert answer.provenance.stages_s["fused:0-2"] == pytest.approx(0.005)
    assert not any(stage.startswith("segment:") for stage in answer.provenance.stages_s)
