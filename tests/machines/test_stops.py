"""Refinements on demand: the next one leaves when the answer to those before is not sure enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import nan

import pytest

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.machines.agent import AgentConfig
from splitnet.machines.agent_io import CloudResult, LinkDown, Received
from splitnet.machines.answering import is_late
from splitnet.machines.options import OptionBook
from splitnet.machines.stage_times import StageTimes
from splitnet.machines.stopping import is_sure
from splitnet.machines.uplink import Uplink
from splitnet.machines.worker import WorkerConfig
from splitnet.machines.worker_io import (
    ItemResult,
)
from splitnet.values import Plan, RequestClass
from splitnet.wire import (
    Cancel,
    Chunk,
    Hollow,
    Infer,
    InferFlag,
    Message,
    Reply,
    Welcome,
)
from tests.machines.conftest import REFINED_BYTES, World
from tests.machines.worker_bench import Scene
from tests.refined_bundle import REFINED_LEVEL, STOPS

PARTIALS = int(InferFlag.WANT_PARTIALS)
PLAN = Plan("c1", REFINED_LEVEL, stops=STOPS)


def stops_world(bundle: Bundle, **options: object) -> World:
    usual = {"policy": f"fixed:plan={PLAN.key}", "config": AgentConfig(deadline_s=0.3)}
    return World(bundle, **{**usual, **options})  # type: ignore[arg-type]


def says(*confidences: float) -> Callable[[Reply], float]:
    return lambda reply: confidences[reply.refinements - 1]


def left(w: World) -> list[int]:
    """Return the payload bytes of each part that left."""
    sizes = [0, 0, 0]
    for message in w.sent:
        if isinstance(message, Infer):
            sizes[0] += len(message.payload)
        elif isinstance(message, Chunk):
            sizes[message.refinement] += len(message.payload)
    return sizes


def cancels(w: World) -> int:
    return sum(isinstance(message, Cancel) for message in w.sent)


def test_a_plan_with_stops_is_an_option_of_its_own(refined: Bundle) -> None:
    book = OptionBook(refined, StageTimes(refined.advice.profiles[0]))
    assert PLAN.key == "c1@2+stops" and PLAN.key in book.keys()
    options = {option.key: option for option in book.all_options()}
    stops, plain = options[PLAN.key], options["c1@2"]
    statistics = refined.table.plan_statistics(PLAN)
    assert stops.uplink_bytes == round(statistics.bytes) < plain.uplink_bytes
    assert stops.replies == statistics.replies > plain.replies == 1.0
    assert stops.cloud_s == plain.cloud_s


@pytest.mark.parametrize(
    ("confidence", "sure"), [(0.3, True), (0.29999, False), (0.31, True), (nan, False)]
)
def test_confidences_are_compared_as_the_table_holds_them(confidence: float, sure: bool) -> None:
    assert is_sure(PLAN, 1, confidence) is sure
    assert is_sure(PLAN, 3, 0.0)


def test_a_sure_answer_to_the_base_is_the_answer(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.3))
    w.frames(1, 0.0)
    w.run(1.0)
    (answer,) = w.delivered
    origin = answer.provenance
    assert (origin.answered_by, origin.plan, origin.refinements) == ("cloud", PLAN.key, (1, 3))
    assert isinstance(answer.result, CloudResult) and answer.result.refinements == 1
    assert origin.uplink_bytes == REFINED_BYTES[0] and origin.downlink_bytes == 40
    assert left(w) == [REFINED_BYTES[0], 0, 0]
    (infer,) = [m for m in w.sent if isinstance(m, Infer)]
    assert infer.flags == PARTIALS and infer.refinements == 3 and infer.budget_us > 0
    assert cancels(w) == 1
    assert w.agent.counters["stopped_early"] == 1
    w.balance()


def test_an_unsure_one_asks_for_the_next_part(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.29, 0.5))
    w.frames(1, 0.0)
    w.run(1.0)
    (answer,) = w.delivered
    assert answer.provenance.refinements == (2, 3)
    assert answer.provenance.uplink_bytes == sum(REFINED_BYTES[:2])
    assert answer.provenance.downlink_bytes == 80
    assert left(w) == [*REFINED_BYTES[:2], 0]
    assert w.agent.counters["partial_replies"] == w.agent.counters["stopped_early"] == 1
    stages_s = answer.provenance.stages_s
    assert stages_s["cloud:run"] == pytest.approx(2 * w.batch_s)
    assert sum(stages_s.values()) == pytest.approx(answer.latency_s, abs=1e-4)
    w.balance()


def test_if_none_is_sure_all_parts_are_sent(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.0, 0.0))
    w.frames(3, 0.2)
    w.run(2.0)
    assert [a.provenance.refinements for a in w.delivered] == [(3, 3)] * 3
    assert {a.provenance.uplink_bytes for a in w.delivered} == {sum(REFINED_BYTES)}
    assert cancels(w) == w.agent.counters["stopped_early"] == 0
    assert w.worker.counters["partial_replies"] == 6
    w.balance()


def test_rounds_tell_the_rate_of_the_link(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.0, 0.0), rate_bps=1e6)
    w.frames(4, 0.5)
    w.run(4.0)
    assert [a.provenance.refinements for a in w.delivered] == [(3, 3)] * 4
    goodput_bps = w.agent.telemetry(w.now_s).goodput_bps
    assert goodput_bps == pytest.approx(1e6, rel=0.15)


def test_a_part_goes_in_chunks(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.0, 0.0), rate_bps=1e6)
    w.frames(2, 0.5)
    w.run(2.0)
    second = w.delivered[-1].request
    chunks = [m for m in w.sent if isinstance(m, Chunk) and m.request == second]
    assert len([c for c in chunks if c.refinement == 1]) > 1
    assert left(w) == [2 * nbytes for nbytes in REFINED_BYTES]


def test_when_it_is_due_the_answer_so_far_is_handed_over(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.0, 0.0), rate_bps=200e3)
    w.frames(1, 0.0)
    w.run(2.0)
    (answer,) = w.delivered
    origin = answer.provenance
    assert (origin.answered_by, origin.refinements) == ("cloud", (1, 3))
    assert origin.reason == "no more of it came in time"
    assert REFINED_BYTES[0] < origin.uplink_bytes < sum(REFINED_BYTES)
    assert origin.level == REFINED_LEVEL
    assert not is_late(answer) and answer.latency_s > 0.29
    assert w.agent.counters["fallback_answers"] == 0
    w.balance()


def test_a_deferred_request_goes_on_as_long_as_it_may(refined: Bundle) -> None:
    config = AgentConfig(deadline_s=None, expiry_s=2.0)
    w = stops_world(refined, sure=says(0.0, 0.0), rate_bps=50e3, config=config)
    w.frames(1, 0.0)
    w.run(1.9)
    assert not w.delivered
    w.run(4.0)
    (answer,) = w.delivered
    assert answer.provenance.refinements == (2, 3)
    (infer,) = [m for m in w.sent if isinstance(m, Infer)]
    assert infer.request_class is RequestClass.DEFERRED and 0 < infer.budget_us < 2e6
    w.balance()


def test_a_broken_link_hands_over_the_answer_so_far(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.0, 0.0), rate_bps=200e3)
    w.frames(1, 0.0)
    w.run(0.25)
    assert not w.delivered and w.agent.counters["partial_replies"] == 1
    w.tell(LinkDown("gone"))
    (answer,) = w.delivered
    assert answer.provenance.refinements == (1, 3)
    assert answer.provenance.reason == "the link broke before more of it came"
    assert answer.provenance.uplink_bytes > REFINED_BYTES[0]


def test_a_rest_that_is_refused_leaves_the_answer_so_far(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.0, 0.0))
    results = iter([ItemResult(Hollow(40)), ItemResult(None, code=WireCode.OVERLOAD, message="")])
    w.reply = lambda number: next(results)
    w.frames(1, 0.0)
    w.run(1.0)
    (answer,) = w.delivered
    assert answer.provenance.refinements == (1, 3)
    assert answer.provenance.reason == "the worker refused the rest: overload"
    assert answer.provenance.uplink_bytes == sum(REFINED_BYTES[:2])
    w.balance()


@pytest.mark.parametrize("live", [True, False])
def test_a_partial_answer_that_cannot_be_read_is_damage(refined: Bundle, live: bool) -> None:
    heard: list[int] = []

    def sure(reply: Reply) -> float | None:
        heard.append(reply.refinements)
        return None if len(heard) == 1 else 0.9

    w = stops_world(refined, sure=sure, config=AgentConfig(deadline_s=0.3 if live else None))
    w.frames(1, 0.0)
    w.run(2.0)
    (answer,) = w.delivered
    assert w.agent.counters["damaged_replies"] == 1
    assert (answer.provenance.answered_by != "cloud") is live
    assert w.refusals(WireCode.MALFORMED) == 0
    w.balance()


def test_replies_that_nobody_asked_for_mean_nothing(refined: Bundle) -> None:
    w = stops_world(refined, sure=says(0.0, 0.0), rate_bps=200e3)
    w.frames(1, 0.0)
    w.run(0.25)
    infer = next(m for m in w.sent if isinstance(m, Infer))
    partial = Reply(infer.request, 0, False, 1, 0, 0, 0, 0, w.worker.load, 0, (), 0, 0, Hollow(40))
    w.tell(Received(partial, 1.0))
    assert not w.delivered and w.agent.counters["unasked_replies"] == 1
    w.tell(Received(replace(partial, request=77), 1.0))
    assert w.agent.counters["late_replies"] == 1


def test_a_worker_that_ignores_the_flag_answers_at_the_end_of_the_budget(refined: Bundle) -> None:
    w = stops_world(refined, old_worker=True)
    w.frames(2, 0.5)
    w.run(2.0)
    assert [a.provenance.refinements for a in w.delivered] == [(1, 3)] * 2
    assert {a.provenance.answered_by for a in w.delivered} == {"cloud"}
    assert left(w) == [2 * REFINED_BYTES[0], 0, 0]
    assert not any(map(is_late, w.delivered))
    w.balance()


def test_a_deferred_request_ends_there_too(refined: Bundle) -> None:
    w = stops_world(refined, old_worker=True, config=AgentConfig(deadline_s=None, expiry_s=2.0))
    w.frames(1, 0.0)
    w.run(3.0)
    (answer,) = w.delivered
    assert answer.provenance.answered_by in ("cloud", "device") and not answer.error
    w.balance()


def test_bases_do_not_wait_behind_parts_that_are_held(refined: Bundle) -> None:
    welcome: Welcome = Scene(refined.contract, WorkerConfig(window_bytes=100_000)).welcome
    link = Uplink(welcome, 1 << 18)

    def put(request: int) -> None:
        link.put(
            0,
            [Hollow(100), Hollow(200), Hollow(300)],
            request=request,
            level=1,
            stop=3,
            request_class=RequestClass.LIVE,
            budget_us=5,
            dims=(),
            one_by_one=True,
        )

    def pump() -> list[tuple[int, int, int]]:
        messages: list[Infer | Chunk] = link.pump(0.01, None, 0.0)
        return [(m.request, getattr(m, "refinement", 0), len(m.payload)) for m in messages]

    put(1)
    put(2)
    assert pump() == [(1, 0, 100), (2, 0, 100)] and not link.waiting
    link.go_on(2)
    link.go_on(2)  # asked for once more while it waits: one at a time
    assert pump() == [(2, 1, 200)]
    assert link._used_bytes == 1200
    cancelled: list[Message] = link.cancel(1)
    assert cancelled == [Cancel(1)] and link._used_bytes == 700
    link.go_on(2)
    assert pump() == [(2, 2, 300)] and link.cancel(2) == [Cancel(2)]
    assert link._used_bytes == 700
