"""Links that die while a payload crosses, workers that grant nothing, devices that end nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.machines.agent import AgentConfig
from splitnet.machines.worker import WorkerConfig
from splitnet.wire import Chunk, Credit, Infer, InferFlag, Ping
from tests.machines.worker_bench import ALICE, BOB, Bench, batches, refusal, sent

LIVE = AgentConfig(deadline_s=0.1, queue_frames=8)
DEFERRED = AgentConfig(queue_frames=8)
SLOW_BPS = 400e3
"""A payload of ``c1@0``, 8,192 bytes, takes 164 ms and several chunks."""


class MakeWorld(Protocol):
    def __call__(self, **options: Any) -> Any: ...


def in_the_middle_of_a_payload(w: Any) -> bool:
    """Whether the last thing that arrived at the worker is a part with others to come."""
    last = w.arrived[-1]
    if isinstance(last, Infer):
        return bool(last.flags & InferFlag.MORE_CHUNKS)
    return isinstance(last, Chunk) and not last.last


def test_a_link_that_dies_in_the_middle_of_a_payload_loses_no_deferred_request(
    world: MakeWorld,
) -> None:
    w = world(policy="fixed:plan=c1@0", config=DEFERRED, rate_bps=SLOW_BPS)
    w.frames(3, 0.05)
    w.run(0.2)
    assert in_the_middle_of_a_payload(w)
    w.link_up = False
    w.run(8.0)
    assert any("silent" in report for report in w.reports)
    w.link_up = True
    w.run(30.0)
    assert w.answered_frames() == [0, 1, 2]
    assert w.by() == {"cloud": 3}


def test_a_link_that_dies_in_the_middle_of_a_payload_makes_no_live_answer_late(
    world: MakeWorld,
) -> None:
    w = world(policy="fixed:plan=c1@0", config=LIVE, rate_bps=SLOW_BPS)
    w.frames(20, 0.1)
    w.run(0.15)
    assert in_the_middle_of_a_payload(w)
    w.link_up = False
    w.run(10.0)
    assert w.answered_frames() == list(range(20))
    assert w.by() == {"exit": 20}
    assert all(answer.late_s <= 0 for answer in w.delivered)


def test_a_connection_cut_in_the_middle_of_a_payload_leaves_the_worker_nothing(
    world: MakeWorld,
) -> None:
    w = world(policy="fixed:plan=c1@0", config=DEFERRED, rate_bps=SLOW_BPS)
    w.frames(1, 0.05)
    w.run(0.2)
    assert in_the_middle_of_a_payload(w)
    w.cut()
    w.run(10.0)
    assert w.by() == {"cloud": 1}
    assert w.worker.counters["purged"] == 1
    assert w.worker.sessions == 1


def test_a_worker_that_never_grants_credit_loses_no_deferred_request(world: MakeWorld) -> None:
    w = world(
        policy="fixed:plan=c1@1",
        worker_config=WorkerConfig(window_requests=0),
        config=replace(DEFERRED, expiry_s=2.0),
    )
    w.frames(5, 0.05)
    w.run(10.0)
    assert w.answered_frames() == list(range(5))
    assert w.by() == {"device": 5}
    assert w.agent.counters["waits_for_credit"] > 0
    assert w.refusals(WireCode.OVERLOAD) == 0


def test_a_device_that_finishes_nothing_holds_its_own_window_and_no_more(
    sample_bundle: Bundle,
) -> None:
    b = Bench(sample_bundle.contract, WorkerConfig(window_requests=4, max_batch=1, heartbeat_s=1.0))
    alice, bob = b.greet(ALICE), b.greet(BOB)
    for number in range(1, 5):
        first = replace(b.infer(alice, number), flags=int(InferFlag.MORE_CHUNKS))
        assert not batches(b.say(ALICE, first))
    assert refusal(b.say(ALICE, b.infer(alice, 5))).code is WireCode.OVERLOAD
    (batch,) = batches(b.say(BOB, b.infer(bob, 1)))
    assert len(batch.items) == 1
    for step in range(1, 20):  # both are alive, one of them finishes nothing
        b.now_s = 0.5 * step
        for peer in (ALICE, BOB):
            assert not sent(b.say(peer, Ping(step, 0)), Credit)
    assert (b.machine.sessions, b.machine.counters["purged"]) == (2, 0)
    for step in range(20, 30):
        b.now_s = 0.5 * step
        b.say(BOB, Ping(step, 0))
    assert (b.machine.sessions, b.machine.counters["purged"]) == (1, 4)
