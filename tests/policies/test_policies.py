"""Every registered policy, and what `fixed` and `greedy` choose."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from splitnet.errors import ConfigError, UnknownNameError
from splitnet.policies.base import Policy
from splitnet.policies.making import make_policy
from splitnet.policies.prediction import ASSUMED_GOODPUT_BPS, predict_latency_s
from splitnet.registry import names
from splitnet.values import (
    DecisionPoint,
    DecisionState,
    ExitStep,
    Option,
    OptionKind,
    Outcome,
    Plan,
    Telemetry,
)

LINK = Telemetry(connected=True, rtt_s=0.02, goodput_bps=1e6)
RULE = (ExitStep("e1", "max-softmax", 0.9),)
EARLY = Option(OptionKind.OFFLOAD, Plan("c1", 1), None, 0.92, 0.01, 0.02, uplink_bytes=10_000)
LATE = Option(OptionKind.OFFLOAD, Plan("c2", 1), None, 0.90, 0.04, 0.01, uplink_bytes=1_000)
EXITS = replace(LATE, plan=Plan("c2", 1, RULE), exit_share=0.5, exit_device_s=0.01)
END = Option(OptionKind.LOCAL, Plan("device", 0), None, 0.93, 0.3)
EXIT = Option(OptionKind.LOCAL, Plan("device", 0), "e1", 0.70, 0.01)
ANSWER = Option(OptionKind.ANSWER, Plan("c2", 1, RULE), "e1", 0.98, 0.0)

TEXTS = {"fixed": "fixed:plan=c1@1", "greedy": "greedy:floor=0.9"}


def state(
    telemetry: Telemetry = LINK, remaining_s: float | None = 0.2, confidence: float | None = None
) -> DecisionState:
    return DecisionState(DecisionPoint.ADMISSION, telemetry, remaining_s, confidence)


@pytest.fixture(params=names("policies"))
def policy(request: pytest.FixtureRequest) -> Policy:
    return make_policy(TEXTS[request.param])


@pytest.mark.parametrize("telemetry", [LINK, Telemetry(), replace(LINK, goodput_bps=1.0)])
@pytest.mark.parametrize("options", [[END], [EARLY, END], [ANSWER, LATE], [EXIT, EXITS, EARLY]])
@pytest.mark.parametrize("remaining_s", [None, 0.0, 0.05, 10.0])
def test_every_policy_takes_one_of_the_options_and_says_why(
    policy: Policy, telemetry: Telemetry, options: list[Option], remaining_s: float | None
) -> None:
    decision = policy.choose(state(telemetry, remaining_s), options)
    assert decision.option in options
    assert decision.reason
    assert decision == policy.choose(state(telemetry, remaining_s), options)
    policy.observe(Outcome(decision.option.key, "cloud", 0.1, decision.predicted_s, 10, False))


def test_every_reply_costs_a_round_trip_and_a_run() -> None:
    busy = replace(LINK, cloud_wait_s=0.1, cloud_slowdown=2.0)
    rounds = replace(EARLY, replies=1.5, downlink_bytes=1000)
    bytes_s = 8 * (10_000 + 1.5 * 1000) / 1e6
    expected_s = 0.01 + bytes_s + 1.5 * (0.02 + 0.1 + 2 * 0.02)
    assert predict_latency_s(rounds, busy) == pytest.approx(expected_s)


def test_greedy_takes_rounds_where_bytes_are_dear() -> None:
    rounds = replace(EARLY, plan=Plan("c1", 1, stops=(0.8,)), uplink_bytes=4_000, replies=1.5)
    greedy = make_policy("greedy:floor=0.9")
    for telemetry, chosen in (
        (LINK, rounds),
        (replace(LINK, goodput_bps=100e6), EARLY),
        (replace(LINK, rtt_s=0.2), EARLY),
    ):
        assert greedy.choose(state(telemetry, None), [EARLY, rounds]).option is chosen


def test_latency_is_the_sum_of_device_link_queue_and_cloud() -> None:
    busy = replace(LINK, cloud_wait_s=0.1, cloud_slowdown=2.0)
    assert predict_latency_s(EARLY, busy) == pytest.approx(0.01 + 0.02 + 0.08 + 0.1 + 2 * 0.02)
    assert predict_latency_s(END, LINK) == 0.3
    assert predict_latency_s(EARLY, Telemetry()) == inf
    unknown = Telemetry(connected=True)
    assert predict_latency_s(EARLY, unknown) > 8 * 10_000 / ASSUMED_GOODPUT_BPS


def test_exits_on_the_way_shorten_the_expectation() -> None:
    sent = predict_latency_s(LATE, LINK)
    assert predict_latency_s(EXITS, LINK) == pytest.approx(0.5 * 0.01 + 0.5 * sent)


def test_greedy_follows_the_link() -> None:
    greedy = make_policy("greedy:floor=0.85")
    fast, slow = replace(LINK, goodput_bps=100e6), replace(LINK, goodput_bps=0.3e6)
    assert greedy.choose(state(fast), [EARLY, LATE, END]).option is EARLY
    assert greedy.choose(state(slow), [EARLY, LATE, END]).option is LATE
    assert greedy.choose(state(Telemetry(), None), [EARLY, LATE, END]).option is END


def test_greedy_keeps_floor_and_deadline_as_long_as_it_can() -> None:
    greedy = make_policy("greedy:floor=0.91")
    assert greedy.choose(state(), [EXIT, LATE, EARLY]).option is EARLY
    assert greedy.choose(state(remaining_s=0.1), [EXIT, LATE, EARLY]).option is LATE
    none_in_time = greedy.choose(state(remaining_s=0.001), [EARLY, END])
    assert none_in_time.option is EARLY
    assert "none is predicted" in none_in_time.reason
    assert make_policy("greedy:floor=0.99").choose(state(), [EXIT, EARLY]).runner_up is not None


def test_greedy_answers_at_a_confident_exit() -> None:
    assert make_policy("greedy:floor=0.95").choose(state(), [ANSWER, EXITS]).option is ANSWER


def test_fixed_follows_its_plan_and_its_exits() -> None:
    assert make_policy("fixed:plan=c1@1").choose(state(), [ANSWER, LATE, EARLY]).option is EARLY
    exits = make_policy("fixed:plan=c2@1+exits")
    assert exits.choose(state(confidence=0.95), [ANSWER, EXITS]).option is ANSWER
    assert exits.choose(state(confidence=0.5), [ANSWER, EXITS]).option is EXITS
    fallback = make_policy("fixed:plan=c1@1").choose(state(), [EXIT, LATE, END])
    assert fallback.option is END
    assert "c1@1 is not feasible" in fallback.reason
    assert make_policy("fixed:plan=c1@1").choose(state(), [LATE]).option is LATE


def test_fixed_runs_the_device_to_its_end_although_an_exit_could_answer() -> None:
    unsure = replace(ANSWER, plan=END.plan)
    assert unsure.key == END.key
    chosen = make_policy("fixed:plan=device:end").choose(state(confidence=0.99), [unsure, END])
    assert chosen.option is END


def test_fixed_considers_its_plan_alone() -> None:
    fixed, greedy = make_policy("fixed:plan=c1@1"), make_policy("greedy")
    assert [plan for plan in ("c1@0", "c1@1", "c1@1+exits") if fixed.considers(plan)] == ["c1@1"]
    assert greedy.considers("c1@0")


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("gredy", UnknownNameError, "did you mean 'greedy'.*known: fixed, greedy"),
        ("greedy:flor=0.5", ConfigError, "'greedy:flor=0.5': flor: unknown setting.*floor"),
        ("greedy:floor=high", ConfigError, "'high' is not a number"),
        ("greedy:floor=2", ConfigError, r"\[0, 1\], got 2"),
        ("greedy:0.9", ConfigError, "key=value"),
        ("fixed", ConfigError, "'fixed': parameters: missing plan"),
    ],
)
def test_bad_policy_texts_are_named(text: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make_policy(text)


def test_fixed_names_the_plans_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"'c1@2'.*did you mean 'c1@1'"):
        make_policy("fixed:plan=c1@2").check(["c1@1", "device:end"])
