"""The summary of a run, by phase and overall, and its broken promises."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from splitnet.bundle import Bundle
from splitnet.sim.report import problems, replay_hash, summarise
from splitnet.sim.simulation import Outcome, Simulation
from tests.sim.scenarios import FOUR_PHASES, agent, scenario


@pytest.fixture(scope="module")
def outcome(sample_bundle: Bundle) -> Outcome:
    played = scenario(agent(frames=220, queue_frames=8), phases=FOUR_PHASES, name="four")
    return Simulation(sample_bundle, played, seed=4).run()


def test_the_summary_is_json_and_adds_up(outcome: Outcome) -> None:
    summary = json.loads(json.dumps(summarise(outcome)))
    assert (summary["scenario"], summary["seed"], summary["unanswered"]) == ("four", 4, 0)
    assert summary["frames"] == summary["answers"] + summary["dropped_frames"] == 220
    assert [phase["phase"] for phase in summary["phases"]] == [p.name for p in FOUR_PHASES]
    for key in ("answers", "late", "uplink_bytes", "header_bytes", "dropped_frames"):
        assert sum(phase[key] for phase in summary["phases"]) == summary[key]
    for part in (summary, *summary["phases"]):
        assert sum(part["answered_by"].values()) == part["answers"]
        assert sum(plan["answers"] for plan in part["plans"]) == part["answers"]
    assert "cloud" not in summary["phases"][2]["answered_by"]
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert 0.5 < summary["accuracy"] <= 1.0


def test_each_table_of_agents_has_its_part(sample_bundle: Bundle) -> None:
    played = scenario(agent(copies=3, frames=10), agent("greedy", name="other", frames=20))
    summary = summarise(Simulation(sample_bundle, played).run())
    found = [(part["agent"], part["copies"], part["answers"]) for part in summary["agents"]]
    assert found == [("device", 3, 30), ("other", 1, 20)]


def test_a_phase_without_frames_has_no_figures(sample_bundle: Bundle) -> None:
    played = scenario(agent(frames=20), phases=FOUR_PHASES)
    summary = summarise(Simulation(sample_bundle, played).run())
    last = summary["phases"][-1]
    assert (last["answers"], last["accuracy"], last["latency_ms"]["p50"]) == (0, None, None)


def test_the_hash_is_of_every_answer(outcome: Outcome) -> None:
    assert replay_hash(outcome.answers) == replay_hash(list(outcome.answers))
    assert replay_hash(outcome.answers) != replay_hash(outcome.answers[:-1])


def test_broken_promises_are_named(outcome: Outcome) -> None:
    assert problems(outcome) == []
    lost = replace(outcome, answers=outcome.answers[1:])
    assert problems(lost) == ["1 of 220 frames were neither answered nor dropped"]
    twice = replace(outcome, answers=(*outcome.answers, outcome.answers[0]))
    assert problems(twice) == ["answered more than once: [('device', 0)]"]
    assert summarise(lost)["unanswered"] == 1
