"""Links that stop within a payload, traces with holes, workers that grant nothing: none lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.bundle import Bundle
from splitnet.machines.worker import WorkerConfig
from splitnet.sim.phased_link import Phase
from splitnet.sim.report import problems, summarise
from splitnet.sim.scenario import Scenario, WorkerSettings
from splitnet.sim.simulation import Outcome, Simulation
from tests.sim.scenarios import agent, scenario

SLOW = {"rate": "400kbit", "delay": "5ms"}
"""A payload of ``c1@0``, 8,192 bytes, takes 164 ms."""


def run(bundle: Bundle, played: Scenario) -> Outcome:
    outcome = Simulation(bundle, played, seed=1).run()
    assert problems(outcome) == []
    assert summarise(outcome)["late"] == 0
    return outcome


def by(outcome: Outcome) -> dict[str, int]:
    shares: dict[str, int] = summarise(outcome)["answered_by"]
    return shares


@pytest.mark.parametrize("outage_s", [0.5, 8.0], ids=["short", "longer than silence may last"])
def test_an_outage_within_a_payload_costs_a_deferred_request_time_only(
    sample_bundle: Bundle, outage_s: float
) -> None:
    phases = (Phase("a", 0.0), Phase("dead", 0.2, dead=True), Phase("b", 0.2 + outage_s))
    patient = agent("fixed:plan=c1@0", frames=6, deadline_s=None, queue_frames=8)
    outcome = run(sample_bundle, scenario(patient, link=SLOW, phases=phases))
    assert by(outcome) == {"cloud": 6}
    assert outcome.reconnects == (outage_s > 3)


@pytest.mark.parametrize("outage_s", [0.5, 8.0], ids=["short", "longer than silence may last"])
def test_an_outage_within_a_payload_makes_no_live_answer_late(
    sample_bundle: Bundle, outage_s: float
) -> None:
    phases = (Phase("a", 0.0), Phase("dead", 0.2, dead=True), Phase("b", 0.2 + outage_s))
    live = agent("fixed:plan=c1@0", rate_hz=5.0, frames=60, deadline_s=0.3, queue_frames=8)
    outcome = run(sample_bundle, scenario(live, link=SLOW, phases=phases))
    dead = [a for a in outcome.answers if 0.2 <= a.arrived_s < outage_s - 0.2]
    assert dead and all(a.delivered.provenance.answered_by != "cloud" for a in dead)
    assert outcome.answers[-1].delivered.provenance.answered_by == "cloud"


def test_a_worker_that_never_grants_credit_is_counted_and_not_needed(
    sample_bundle: Bundle,
) -> None:
    stingy = WorkerSettings(bounds=WorkerConfig(window_requests=0))
    live = agent("fixed:plan=c1@1", frames=20)
    patient = agent(
        "fixed:plan=c1@1", frames=5, deadline_s=None, expiry_s=2.0, queue_frames=8, name="patient"
    )
    outcome = run(sample_bundle, scenario(live, patient, worker=stingy))
    assert "cloud" not in by(outcome) and sum(by(outcome).values()) == 25
    assert outcome.counters["waits_for_credit"] > 0
    assert outcome.counters["refused_overload"] == 0


TRACES = {
    "ends early": ("0,8\n1,8\n", "stop", "ends after 2.0 s"),
    "begins again": ("0,8\n1,0\n", "loop", "ends after 2.0 s"),
    "has a gap": ("0,8\n1,8\n2,8\n3,8\n30,0.1\n31,8\n", "loop", "has 1 gaps"),
}


@pytest.mark.parametrize(("lines", "ending", "remark"), TRACES.values(), ids=TRACES.keys())
@pytest.mark.parametrize("deadline_s", [0.15, None], ids=["live", "deferred"])
def test_an_odd_trace_is_named_and_loses_nothing(
    sample_bundle: Bundle,
    tmp_path: Path,
    lines: str,
    ending: str,
    remark: str,
    deadline_s: float | None,
) -> None:
    trace = tmp_path / "odd.csv"
    trace.write_text("t_s,mbps\n" + lines)
    link = {"trace": str(trace), "trace_end": ending, "delay": "5ms"}
    one = agent("fixed:plan=c1@1", frames=100, deadline_s=deadline_s, expiry_s=10.0, queue_frames=8)
    outcome = run(sample_bundle, scenario(one, link=link))
    assert any(remark in said for said in outcome.remarks), outcome.remarks
    assert by(outcome)["cloud"] > 30
