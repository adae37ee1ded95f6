"""A prefilter: who has nothing of interest to show sends nothing, all others go on as before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from splitnet.bundle import Bundle
from splitnet.machines.agent_config import AgentConfig
from splitnet.machines.agent_io import NOT_PREPARED, LocalResult, RunExit
from splitnet.machines.drift import DriftMonitor
from splitnet.machines.fitting import fitted
from splitnet.machines.options import OptionBook
from splitnet.machines.stage_times import StageTimes
from splitnet.policies.making import make_policy
from splitnet.values import SKIP, OptionKind
from tests.machines.conftest import World
from tests.machines.test_properties import machine_class


@pytest.fixture
def book(skipping_bundle: Bundle) -> OptionBook:
    return OptionBook(skipping_bundle, StageTimes(skipping_bundle.advice.profiles[0]))


def stage_names(world: World) -> list[str]:
    return [stage.exit for stage in world.stages if isinstance(stage, RunExit)]


def test_what_is_skipped_is_answered_here_and_nothing_is_sent(skipping_bundle: Bundle) -> None:
    world = World(
        skipping_bundle,
        "fixed:plan=c1@1+skip",
        absence=lambda frame: 0.9 if frame % 2 else 0.2,
    )
    world.frames(10, every_s=0.1)
    world.run(3.0)
    assert world.by() == {"skip": 5, "cloud": 5}
    assert world.agent.counters["answered_skip"] == 5
    for answer in world.delivered:
        origin = answer.provenance
        skipped = answer.frame % 2 == 1
        assert (origin.answered_by == "skip") == skipped
        assert (origin.uplink_bytes == 0) == skipped
        assert origin.exit is None and "exit:skip" in origin.stages_s
        if skipped:
            assert origin.plan == "c1@1+skip" and origin.device_segments == (0, 1)
            assert isinstance(answer.result, LocalResult) and answer.result.answer == SKIP


def test_exits_behind_a_prefilter_answer_what_it_lets_through(skipping_bundle: Bundle) -> None:
    world = World(
        skipping_bundle,
        "fixed:plan=c2@1+skip+exits",
        absence=lambda frame: 0.9 if frame % 3 == 0 else 0.2,
        confidence=lambda frame: 0.9 if frame % 3 == 1 else 0.2,
    )
    world.frames(9, every_s=0.1)
    world.run(3.0)
    assert world.by() == {"skip": 3, "exit": 3, "cloud": 3}


def test_a_prefilter_that_is_not_sure_is_no_answer(skipping_bundle: Bundle) -> None:
    """Without a link a live request gets the exit's answer, not that of the prefilter."""
    world = World(
        skipping_bundle,
        "fixed:plan=c1@1+skip",
        AgentConfig(deadline_s=0.1),
        link_up=False,
    )
    world.frames(5, every_s=0.2)
    world.run(3.0)
    assert len(world.delivered) == 5
    assert world.by().keys() <= {"exit", "device"}
    assert not any(answer.error for answer in world.delivered)


def test_a_plan_without_it_does_not_run_it(skipping_bundle: Bundle) -> None:
    world = World(skipping_bundle, "fixed:plan=c1@1", absence=lambda frame: 1.0)
    world.frames(3, every_s=0.1)
    world.run(2.0)
    assert world.by() == {"cloud": 3} and stage_names(world) == []


def test_prices_know_what_is_skipped(book: OptionBook) -> None:
    options = {option.key: option for option in book.all_options()}
    skipping, plain = options["c1@1+skip"], options["c1@1"]
    assert skipping.exit_share == pytest.approx(0.5) and plain.exit_share == 0.0
    assert 0 < skipping.exit_device_s < skipping.device_s
    assert "device:skip" not in options and "device:end+skip+exits" in options
    assert "input@1+skip" not in options
    known = {option.key: option for option in book.all_options(1, ((SKIP, False),))}
    assert known["c1@1+skip"].exit_share == 0.0
    assert OptionKind.ANSWER not in {option.kind for option in known.values()}


def test_live_requests_are_promised_an_exit(book: OptionBook) -> None:
    way = book.fallback(NOT_PREPARED, live=True)
    assert [stage.exit for stage in way if isinstance(stage, RunExit)] == ["e1"]


def test_a_device_keeps_plans_that_skip(skipping_bundle: Bundle) -> None:
    policy = make_policy("greedy:floor=0.5")
    kept = fitted(skipping_bundle, policy, skipping_bundle.advice.profiles[0])
    assert any(plan.key.endswith("+skip") for plan in kept.advice.plans)


def test_drift_of_an_exit_is_judged_by_what_was_let_through(skipping_bundle: Bundle) -> None:
    """An exit behind the prefilter sees other samples than all: those are no drift."""
    table = skipping_bundle.table
    let_through = np.flatnonzero(table.exits[SKIP].confidence < 0.7)
    exit_rows = table.exits["e1"]
    sure = np.where(table.exits[SKIP].confidence < 0.7, 0.4, 0.95).astype(np.float32)
    rows = {**table.exits, "e1": exit_rows._replace(confidence=sure)}
    bundle = replace(skipping_bundle, table=replace(table, exits=rows))
    monitor = DriftMonitor(bundle, block=200)
    for number in range(200):
        row = let_through[number % len(let_through)]
        heard: dict[str | None, LocalResult] = {
            SKIP: LocalResult(float(table.exits[SKIP].confidence[row]), None)
        }
        assert monitor.add("e1", float(sure[row]), heard) is None


SKIPPING = {
    "fixed:plan=c1@1": "fixed:plan=c1@1+skip",
    "fixed:plan=c1@2": "fixed:plan=c2@1+skip+exits",
    "fixed:plan=c1@2+stops": "fixed:plan=c1@0+skip",
    "fixed:plan=bottleneck@1+exits": "fixed:plan=bottleneck@1+skip+exits",
}


def test_whatever_happens_a_prefilter_breaks_no_promise(skipping_bundle: Bundle) -> None:
    def make(**options: Any) -> World:
        options["policy"] = SKIPPING.get(options["policy"], options["policy"])
        return World(skipping_bundle, absence=lambda frame: (frame * 53 % 101) / 100, **options)

    run_state_machine_as_test(
        machine_class(make),
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            phases=(Phase.generate,),
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
