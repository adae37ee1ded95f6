"""What is counted of answers."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from splitnet.machines.agent_io import CloudResult, Deliver
from splitnet.machines.tally import Tally
from splitnet.values import Provenance


def delivered(
    latency_s: float = 0.1,
    by: Literal["cloud", "exit", "device"] = "cloud",
    plan: str = "c1@1",
    late_s: float | None = None,
) -> Deliver:
    origin = Provenance(
        answered_by=by,
        plan=plan,
        exit=None,
        level=1,
        device_segments=(0, 1),
        cloud_segments=(1, 3),
        uplink_bytes=100,
        downlink_bytes=10,
        header_bytes=20,
        stages_s={},
        reason="because",
    )
    return Deliver(
        request=1,
        frame=1,
        result=CloudResult(b""),
        provenance=origin,
        latency_s=latency_s,
        deadline_s=None if late_s is None else latency_s - late_s,
        late_s=late_s,
        timer_late_s=0.0,
        error=None,
    )


def plans(tally: Tally) -> list[tuple[str, str, int]]:
    found: list[dict[str, Any]] = tally.to_json()["plans"]
    return [(part["plan"], part["answered_by"], part["answers"]) for part in found]


def test_answers_are_grouped_by_plan_and_by_who_answered() -> None:
    tally = Tally()
    tally.add(delivered(), 1.0, None)
    tally.add(delivered(by="exit"), 0.0, None)
    tally.add(delivered(plan="b@0"), None, None)
    tally.add(delivered(), None, "damaged")
    assert plans(tally) == [
        ("b@0", "cloud", 1),
        ("c1@1", "cloud", 1),
        ("c1@1", "error", 1),
        ("c1@1", "exit", 1),
    ]
    found = tally.to_json()
    assert found["answered_by"] == {"cloud": 2, "error": 1, "exit": 1}
    assert (found["answers"], found["failed"], tally.failed) == (4, 1, 1)
    assert (found["uplink_bytes"], found["downlink_bytes"], found["header_bytes"]) == (400, 40, 80)


def test_the_accuracy_is_of_the_answers_whose_truth_is_known() -> None:
    tally = Tally()
    for score in (1.0, 0.5, None):
        tally.add(delivered(), score, None)
    assert tally.to_json()["accuracy"] == 0.75


def test_late_answers_are_counted_as_the_machine_does() -> None:
    tally = Tally()
    for late_s in (None, -0.1, 0.004, 0.006):
        tally.add(delivered(late_s=late_s), None, None)
    assert tally.to_json()["late"] == 1


@pytest.mark.parametrize(("kept", "p50_ms"), [(None, 51.0), (10, 96.0)])
def test_percentiles_are_of_the_latest_latencies(kept: int | None, p50_ms: float) -> None:
    tally = Tally(kept)
    for step in range(1, 101):
        tally.add(delivered(latency_s=step / 1000), None, None)
    assert tally.to_json()["latency_ms"]["p50"] == p50_ms


def test_nothing_counted() -> None:
    found = Tally().to_json()
    assert (found["answers"], found["accuracy"], found["plans"]) == (0, None, [])
    assert found["latency_ms"] == {"p50": None, "p95": None}
