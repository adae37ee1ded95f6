"""Whole runs in virtual time: the promise of one answer, exact replay, and what links do to it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from splitnet.bundle import Bundle
from splitnet.errors import ConfigError, UnknownNameError
from splitnet.machines.answering import is_late
from splitnet.machines.worker import WorkerConfig
from splitnet.sim.phased_link import Phase
from splitnet.sim.report import problems
from splitnet.sim.scenario import Restart, Scenario, Source, WorkerSettings
from splitnet.sim.simulation import Outcome, Simulation
from splitnet.sim.stage_clock import slowed
from tests.sim.scenarios import FOUR_PHASES, LINK, agent, scenario


def run(bundle: Bundle, played: Scenario, seed: int | None = None) -> Outcome:
    """Play a scenario and check what holds for every one of them."""
    outcome = Simulation(bundle, played, seed).run()
    expected = sum(settings.copies * settings.source.frames for settings in played.agents)
    assert outcome.frames == expected
    assert problems(outcome) == []
    assert not any(is_late(answer.delivered) for answer in outcome.answers)
    assert not any(answer.delivered.error for answer in outcome.answers)
    return outcome


def by(outcome: Outcome) -> Counter[str]:
    return Counter(answer.delivered.provenance.answered_by for answer in outcome.answers)


def test_on_a_good_link_the_fixed_plan_is_followed(sample_bundle: Bundle) -> None:
    outcome = run(sample_bundle, scenario(agent(frames=50)))
    assert by(outcome)["cloud"] >= 48  # the first frames come before the connection
    cloud = [a for a in outcome.answers if a.delivered.provenance.answered_by == "cloud"]
    for answer in cloud:
        assert answer.delivered.provenance.plan == "c1@1"
        assert answer.found is not None
        assert answer.found.score == sample_bundle.table.paths["c1", 1].score[answer.row]
        sent = answer.delivered.provenance.uplink_bytes
        assert sent == sample_bundle.table.paths["c1", 1].bytes[answer.row]
    assert outcome.worker_counters["replies"] == len(cloud)


def test_rows_in_the_order_of_the_table_begin_again_behind_the_last(sample_bundle: Bundle) -> None:
    rows = len(sample_bundle.table)
    ordered = replace(agent(frames=0), source=Source(20.0, rows + 5, order="table"))
    outcome = run(sample_bundle, scenario(ordered))
    found = [answer.row for answer in sorted(outcome.answers, key=lambda a: a.delivered.frame)]
    assert found == [*range(rows), *range(5)]


def test_the_latency_is_the_sum_of_what_the_profile_and_the_link_say(
    sample_bundle: Bundle,
) -> None:
    link = {"rate": "8mbit", "delay": "5ms"}
    besides = {"step_s": 0.001, "hop_s": 0.002}
    quiet = agent("fixed:plan=bottleneck@0", frames=30, spread=0.0, **besides)
    played = scenario(quiet, link=link, worker=WorkerSettings(spread=0.0))
    outcome = run(sample_bundle, played)
    latency_s = outcome.answers[-1].delivered.latency_s
    # prepare, segment 0, exit (a live request makes sure of an answer), encode
    device_s = 0.001 + 0.004 + 0.001 + 0.001 + 2 * 0.001  # two jobs: the exit decides in between
    crossing_s = 2 * (0.005 + 0.002) + (1024 + 40) / 1e6
    cloud_s = 0.001 + 2 * 0.004
    headers_s = 0.0001  # of messages and frames, both ways
    assert latency_s == pytest.approx(device_s + crossing_s + cloud_s + headers_s, abs=0.0002)


@pytest.mark.parametrize("policy", ["fixed:plan=c1@1", "fixed:plan=bottleneck@1+exits", "greedy"])
def test_a_dead_link_costs_no_answer(sample_bundle: Bundle, policy: str) -> None:
    played = scenario(agent(policy, frames=240, queue_frames=8), phases=FOUR_PHASES)
    outcome = run(sample_bundle, played)
    dead = [a for a in outcome.answers if 2.5 <= a.arrived_s < 7.5]
    assert dead and all(a.delivered.provenance.answered_by != "cloud" for a in dead)
    if policy.startswith("fixed:plan=c1"):
        back = [a for a in outcome.answers if a.arrived_s > 10.5]
        assert all(a.delivered.provenance.answered_by == "cloud" for a in back)
        assert outcome.reconnects == 1


def test_deferred_requests_wait_for_the_link_and_expire(sample_bundle: Bundle) -> None:
    phases = (Phase("dead", 0.0, dead=True), Phase("good", 3.0))
    waiting = agent(frames=8, deadline_s=None, expiry_s=20.0, queue_frames=8)
    outcome = run(sample_bundle, scenario(waiting, phases=phases))
    assert by(outcome) == {"cloud": 8}
    forever = (Phase("dead", 0.0, dead=True),)
    expiring = agent(frames=8, deadline_s=None, expiry_s=2.0, queue_frames=8)
    outcome = run(sample_bundle, scenario(expiring, phases=forever))
    assert "cloud" not in by(outcome)


def test_frames_that_come_too_fast_are_dropped_and_counted(sample_bundle: Bundle) -> None:
    outcome = run(sample_bundle, scenario(agent(rate_hz=500.0, frames=200, factor=5.0)))
    assert outcome.drops
    assert len(outcome.answers) + len(outcome.drops) == 200
    assert {drop.reason for drop in outcome.drops} <= {
        "a newer frame came",
        "too late for any answer",
    }


@pytest.mark.parametrize("policy", ["fixed:plan=c1@1", "greedy"])
@pytest.mark.parametrize("deadline_s", [0.15, None])
def test_a_worker_that_restarts_answers_nothing_twice(
    sample_bundle: Bundle, policy: str, deadline_s: float | None
) -> None:
    restarts = (Restart(0.503, 0.3), Restart(1.204, 0.01))
    patient = agent(policy, frames=60, deadline_s=deadline_s, queue_frames=60, rate_hz=40.0)
    played = scenario(patient, worker=WorkerSettings(restarts=restarts))
    outcome = run(sample_bundle, played)
    assert outcome.reconnects >= 1
    if deadline_s is None and policy.startswith("fixed"):
        assert by(outcome) == {"cloud": 60}


def test_a_connection_that_is_reset_comes_back(
    sample_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("schedule") / "resets.csv"
    file.write_text("0.3,reset\n0.9,reset\n0.95,reset\n")
    played = scenario(agent(frames=60), link={**LINK, "schedule": str(file)})
    outcome = run(sample_bundle, played)
    assert outcome.reconnects >= 2
    assert outcome.answers[-1].delivered.provenance.answered_by == "cloud"


def test_several_devices_share_a_worker_and_its_batches(sample_bundle: Bundle) -> None:
    many = agent(frames=40, copies=6, rate_hz=25.0)
    other = agent("fixed:plan=c2@0", frames=40, name="other")
    outcome = run(sample_bundle, scenario(many, other))
    names = Counter(answer.agent for answer in outcome.answers)
    assert sorted(names) == [f"device-{n}" for n in range(1, 7)] + ["other"]
    assert outcome.worker_counters["sessions"] == 7
    assert outcome.worker_counters["batches"] < outcome.worker_counters["replies"]
    arrived_s = [answer.arrived_s + answer.delivered.latency_s for answer in outcome.answers]
    assert arrived_s == pytest.approx(sorted(arrived_s))


def test_a_worker_without_batches_is_slower_under_load(sample_bundle: Bundle) -> None:
    def p95_s(max_batch: int) -> float:
        worker = WorkerSettings(bounds=WorkerConfig(max_batch=max_batch), batch_share=0.1)
        many = agent(frames=40, copies=8, rate_hz=20.0, deadline_s=None)
        outcome = run(sample_bundle, scenario(many, worker=worker))
        latencies_s = sorted(answer.delivered.latency_s for answer in outcome.answers)
        return latencies_s[int(0.95 * len(latencies_s))]

    assert p95_s(8) < p95_s(1)


def test_a_link_that_ends_for_good_is_a_dead_one(
    sample_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("trace") / "short.csv"
    file.write_text("t_s,mbps\n0,20\n1,20\n")
    link = {"trace": str(file), "trace_end": "stop", "delay": "5ms"}
    outcome = run(sample_bundle, scenario(agent(frames=100), link=link))
    assert any("ends after 2.0 s" in remark for remark in outcome.remarks)
    late = [a for a in outcome.answers if a.arrived_s > 2.2]
    assert late and all(a.delivered.provenance.answered_by != "cloud" for a in late)


# --- replay -------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["fixed:plan=c1@1", "greedy:floor=0.9"])
def test_the_same_seed_gives_the_same_answers(sample_bundle: Bundle, policy: str) -> None:
    played = scenario(
        agent(policy, frames=200, copies=2),
        phases=FOUR_PHASES,
        worker=WorkerSettings(restarts=(Restart(0.5, 0.2),)),
    )
    one, same = (run(sample_bundle, played, seed=5) for _ in range(2))
    assert one == same
    other = run(sample_bundle, played, seed=6)
    assert one.answers != other.answers


def test_the_samples_do_not_depend_on_the_policy(sample_bundle: Bundle) -> None:
    rows = [
        [a.row for a in sorted(run(sample_bundle, scenario(agent(policy))).answers, key=frame)]
        for policy in ("fixed:plan=c1@1", "fixed:plan=device:end", "greedy")
    ]
    assert rows[0] == rows[1] == rows[2]


def frame(answer: Any) -> int:
    number: int = answer.delivered.frame
    return number


def test_a_seed_draws_other_samples_and_times(sample_bundle: Bundle) -> None:
    one, other = (run(sample_bundle, scenario(), seed=seed) for seed in (1, 2))
    assert [a.row for a in one.answers] != [a.row for a in other.answers]


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("gredy", "unknown policies id 'gredy' (did you mean 'greedy'?)"),
        ("fixed:plan=c9@1", "unknown plan 'c9@1' (did you mean"),
        ("fixed", "missing"),
        ("greedy:flor=1", "(did you mean 'floor'?)"),
        ("greedy:floor=7", "floor must lie in [0, 1], got 7.0"),
    ],
)
def test_an_unknown_policy_or_plan_is_named(
    sample_bundle: Bundle, policy: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Simulation(sample_bundle, scenario(agent(policy)))


def test_a_deadline_below_the_first_answer_is_refused(sample_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"device: the deadline of 0\.15 s is shorter than"):
        Simulation(sample_bundle, scenario(agent(factor=1000.0)))


def test_a_bundle_without_a_profile_is_refused(sample_bundle: Bundle) -> None:
    bare = replace(sample_bundle, advice=replace(sample_bundle.advice, profiles=()))
    with pytest.raises(ConfigError, match="the bundle has no profile"):
        Simulation(bare, scenario())


def test_a_device_may_have_another_profile(sample_bundle: Bundle) -> None:
    profiles = sample_bundle.advice.profiles
    quick = replace(slowed(profiles[0], 0.1), device="quick")
    bundle = replace(
        sample_bundle, advice=replace(sample_bundle.advice, profiles=(*profiles, quick))
    )
    local = "fixed:plan=device:end"
    slow, fast = (
        run(bundle, scenario(agent(local, profile=name, spread=0.0, step_s=0.0))).answers[-1]
        for name in (None, "quick")
    )
    assert fast.delivered.latency_s == pytest.approx(0.1 * slow.delivered.latency_s)
    with pytest.raises(UnknownNameError, match=r"no profile 'quik' \(did you mean 'quick'\?\)"):
        Simulation(bundle, scenario(worker=WorkerSettings(profile="quik")))


def test_unknown_names_keep_their_kind(sample_bundle: Bundle) -> None:
    with pytest.raises(UnknownNameError):
        Simulation(sample_bundle, scenario(agent("fixed:plan=nothing@0")))
