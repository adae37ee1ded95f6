"""How a step is judged, on requests that no process has answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitnet.bundle import Bundle

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
BEST_WAY = {"fast": "input", "slow": "device"}


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def judged(change_s: float, **changes: Any) -> dict[str, Any]:
    """Return the judgement of a step at 5.02 s after which the plan changes `change_s` later."""
    from link_step import PERIOD_S, Request, Run, _step

    requests = []
    for frame in range(200):
        arrived_s = frame / 20
        plan = "device:end" if 5.02 + change_s <= arrived_s < 5.02 + PERIOD_S else "input@1"
        line = {"frame": frame, "plan": plan, "latency_ms": 30.0, "stages_ms": {"all": 20.0}}
        line |= {"late": False, "answered_by": "cloud", "reason": "fastest", **changes}
        requests.append(Request(arrived_s, line))
    found: dict[str, Any] = _step(Run(requests, {}), 5.02, "slow", BEST_WAY)
    return found


@pytest.mark.parametrize(
    ("change_s", "request_number", "ms", "met"),
    [
        (0.0, 1, 40.0, True),
        (0.2, 5, 240.0, True),
        (0.45, 10, 490.0, True),
        (0.5, 11, 540.0, False),
    ],
)
def test_requests_and_time_until_the_plan_changes(
    change_s: float, request_number: int, ms: float, met: bool
) -> None:
    step = judged(change_s)
    assert (step["request"], step["ms"], step["met"]) == (request_number, ms, met)
    assert step["settled_before"] and step["settled_after"] and not step["back"]
    assert len(step["until_then"]) == request_number


def test_a_plan_that_never_changes() -> None:
    step = judged(9.0)
    assert step["request"] is step["ms"] is None
    assert not step["met"] and not step["settled_after"]


def test_a_policy_that_was_not_there_before() -> None:
    step = judged(0.0, plan="device:end")
    assert step["request"] == 1 and not step["settled_before"] and not step["met"]


def test_late_answers_are_counted() -> None:
    assert judged(0.0, late=True)["late"] == 60


def test_accuracies_of_the_device(sample_bundle: Bundle) -> None:
    from link_step import ON_DEVICE, accuracies

    found = accuracies(sample_bundle)
    assert {plan.key for plan in sample_bundle.advice.plans} < set(found)
    whole, with_exits = (found[plan] for plan in ON_DEVICE)
    assert 0.0 <= with_exits <= 1.0 and whole == found["input@0"]
