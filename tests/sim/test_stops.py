"""Refinements on demand in virtual time: what the sample table promises is what happens."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.bundle import Bundle
from splitnet.machines.agent_io import Encode, Encoded
from splitnet.machines.answering import is_late
from splitnet.sim.report import problems, summarise
from splitnet.sim.rows import SampleRows
from splitnet.sim.simulation import Outcome, Simulation
from splitnet.values import Plan
from tests.refined_bundle import REFINED_LEVEL, STOPS
from tests.sim.scenarios import FOUR_PHASES, agent, scenario

KEY = ("c1", REFINED_LEVEL)
PLAN = Plan(*KEY, stops=STOPS)
ROW = 17


def run(
    bundle: Bundle, policy: str, *, frames: int = 100, rate_hz: float = 20.0, **changes: object
) -> Outcome:
    settings = agent(policy, rate_hz, frames, deadline_s=0.15)
    outcome = Simulation(bundle, scenario(settings, **changes)).run()
    assert problems(outcome) == []
    assert not any(is_late(answer.delivered) for answer in outcome.answers)
    return outcome


def test_the_parts_of_a_payload_are_as_large_as_the_table_says(refined: Bundle) -> None:
    encoded = SampleRows(refined).outcome(Encode(*KEY), ROW)
    assert isinstance(encoded, Encoded)
    stages = [*refined.table.parts[KEY], refined.table.paths[KEY]]
    sums = np.cumsum([len(part) for part in encoded.parts])
    assert sums.tolist() == [int(rows.bytes[ROW]) for rows in stages]


def test_on_a_good_link_every_answer_stops_where_the_table_says(refined: Bundle) -> None:
    outcome = run(refined, f"fixed:plan={PLAN.key}")
    replies, answers = refined.table.replies(PLAN), refined.table.answers(PLAN)
    by_cloud = [a for a in outcome.answers if a.delivered.provenance.answered_by == "cloud"]
    assert len(by_cloud) >= 95  # the first frames come before the connection
    for answer in by_cloud:
        origin, row = answer.delivered.provenance, answer.row
        assert origin.refinements == (replies[row], 3)
        assert origin.uplink_bytes == answers.bytes[row]
        assert answer.found is not None and answer.found.score == answers.score[row]
    used = [replies[answer.row] for answer in by_cloud]
    assert set(used) == {1, 2, 3}
    assert outcome.counters["stopped_early"] == sum(count < 3 for count in used)
    assert outcome.counters["partial_replies"] == sum(count - 1 for count in used)
    assert summarise(outcome)["coarse"] == sum(count < 3 for count in used)


def test_predicted_latency_counts_the_rounds(refined: Bundle) -> None:
    outcome = run(refined, f"fixed:plan={PLAN.key}", frames=200)
    latencies_s = [
        answer.delivered.latency_s
        for answer in outcome.answers
        if answer.delivered.provenance.answered_by == "cloud"
    ]
    plain = run(refined, f"fixed:plan=c1@{REFINED_LEVEL}", frames=200)
    once_s = np.mean([answer.delivered.latency_s for answer in plain.answers[5:]])
    rounds = refined.table.plan_statistics(PLAN).replies - 1
    round_s = 2 * 0.005 + 0.001 + 2 * 0.004  # the link, decoder, segments
    assert np.mean(latencies_s) == pytest.approx(once_s + rounds * round_s, rel=0.15)


@pytest.mark.parametrize("policy", [f"fixed:plan={PLAN.key}", "greedy", "greedy:floor=0.8"])
def test_a_dead_link_costs_no_answer(refined: Bundle, policy: str) -> None:
    outcome = run(refined, policy, frames=240, phases=FOUR_PHASES)
    assert len(outcome.answers) + len(outcome.drops) == 240


def test_on_a_poor_link_the_answer_so_far_is_handed_over(refined: Bundle) -> None:
    link = {"rate": "150kbit", "delay": "20ms"}
    outcome = run(refined, f"fixed:plan={PLAN.key}", rate_hz=4.0, link=link)
    reasons = {a.delivered.provenance.reason for a in outcome.answers}
    assert "no more of it came in time" in reasons
    for answer in outcome.answers:
        origin = answer.delivered.provenance
        if origin.reason == "no more of it came in time":
            assert origin.refinements is not None and origin.refinements[0] < 3


def test_the_same_seed_gives_the_same_answers(refined: Bundle) -> None:
    again = [
        summarise(run(refined, f"fixed:plan={PLAN.key}", frames=50))["answers_sha256"]
        for _ in range(2)
    ]
    assert again[0] == again[1]
