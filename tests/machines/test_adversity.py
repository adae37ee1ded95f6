"""Sequences that once went wrong: the agent played by hand, slow and busy workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from splitnet.errors import WireCode
from splitnet.machines.agent import AgentConfig, AgentMachine
from splitnet.machines.agent_io import (
    AgentEvent,
    Deliver,
    Encode,
    Encoded,
    FrameArrived,
    LinkUp,
    LocalResult,
    Received,
    RunExit,
    RunStages,
    StagesDone,
    StagesFailed,
    Tick,
)
from splitnet.machines.session import Session
from splitnet.machines.worker_io import ItemResult
from splitnet.wire import Credit, Error, Hollow, Welcome

DEFERRED = AgentConfig(queue_frames=8)
LIVE = AgentConfig(deadline_s=0.1, queue_frames=8)


class MakeWorld(Protocol):
    def __call__(self, **options: Any) -> Any: ...


class ByHand:
    """An agent without a worker: stages end at once unless `fails` says otherwise."""

    def __init__(self, agent: AgentMachine, credit_requests: int = 64) -> None:
        self.agent = agent
        self.now_s = 0.0
        self.delivered: list[Deliver] = []
        self.fails: Callable[[RunStages], bool] = lambda job: False
        self.tell(Tick())
        self.tell(LinkUp())
        handles = tuple((0, number) for number in range(4))
        self.tell(
            Received(
                Welcome(
                    session=1,
                    epoch=1,
                    handles=handles,
                    missing_tables=(),
                    max_request_bytes=4 << 20,
                    max_chunk_bytes=256 << 10,
                    credit_requests=credit_requests,
                    credit_bytes=8 << 20,
                    heartbeat_ms=3_600_000,
                )
            )
        )

    def tell(self, event: AgentEvent) -> None:
        events = [event]
        while events:
            for action in self.agent.handle(events.pop(0), self.now_s):
                if isinstance(action, Deliver):
                    self.delivered.append(action)
                elif isinstance(action, RunStages) and self.fails(action):
                    done = (0.001,) * (len(action.stages) - 1)
                    events.append(StagesFailed(action.job, "out of memory", done))
                elif isinstance(action, RunStages):
                    last = action.stages[-1]
                    outcome: Encoded | LocalResult | None = None
                    if isinstance(last, Encode):
                        outcome = Encoded(Hollow(2048))
                    elif isinstance(last, RunExit):
                        outcome = LocalResult(0.1, "exit")
                    events.append(StagesDone(action.job, (0.001,) * len(action.stages), outcome))

    def frame(self, number: int) -> None:
        self.now_s += 0.01
        self.tell(FrameArrived(number, self.now_s))


def test_a_due_retry_behind_a_starved_request_does_not_spin(world: MakeWorld) -> None:
    hand = ByHand(world(config=DEFERRED).agent, credit_requests=3)
    for number in range(3):
        hand.frame(number)
    for request in (1, 2):
        hand.tell(Received(Error(request, WireCode.OVERLOAD, 0, "busy")))
    hand.now_s = 5.0
    hand.tell(Tick())
    assert hand.agent.wakeup_s is not None and hand.agent.wakeup_s > hand.now_s


def test_a_forgotten_session_costs_no_deferred_request_its_cloud_answer(world: MakeWorld) -> None:
    hand = ByHand(world(config=DEFERRED).agent)
    hand.frame(0)
    hand.now_s = 1.0
    hand.tell(Received(Error(1, WireCode.NO_SESSION, 0, "say hello first")))
    assert not hand.delivered and not hand.agent.link_ready
    assert hand.agent.wakeup_s is not None and hand.agent.wakeup_s < 1.2


def test_a_connection_is_tried_again_when_the_worker_says(world: MakeWorld) -> None:
    for code, least_s, most_s in ((WireCode.OVERLOAD, 0.7, 0.8), (WireCode.VERSION, 2.4, 5.1)):
        hand = ByHand(world(config=DEFERRED).agent)
        hand.tell(Received(Error(0, code, 700, "not now")))
        assert hand.agent.wakeup_s is not None
        assert least_s <= hand.agent.wakeup_s <= most_s


def test_a_failed_rescue_waits_for_the_cloud_until_the_deadline(world: MakeWorld) -> None:
    hand = ByHand(world(policy="fixed:plan=input@1", config=LIVE).agent)
    hand.frame(0)
    hand.fails = lambda job: True
    wakeup_s = hand.agent.wakeup_s
    assert wakeup_s is not None
    hand.now_s = wakeup_s
    hand.tell(Tick())
    assert not hand.delivered
    due_s = 0.01 + 0.1 - LIVE.guard_s
    assert hand.agent.wakeup_s == pytest.approx(due_s)
    hand.now_s = due_s
    hand.tell(Tick())
    assert [answer.error for answer in hand.delivered] == ["out of memory"]


def test_a_codec_that_fails_costs_its_path_not_the_answer(world: MakeWorld) -> None:
    hand = ByHand(world(config=LIVE).agent)
    hand.fails = lambda job: isinstance(job.stages[-1], Encode)
    hand.frame(0)
    hand.now_s = 1.0
    hand.tell(Tick())
    assert [answer.error for answer in hand.delivered] == [None]


def test_draining_without_a_worker_does_not_wait_for_the_expiry(world: MakeWorld) -> None:
    w = world(config=DEFERRED, link_up=False)
    w.frames(1, 0.05)
    w.at(1.0, w.drain)
    w.run(1.0 + DEFERRED.drain_s + 0.1)
    assert w.finished and w.by() == {"device": 1}


def test_a_deferred_request_outlasts_a_busy_worker(world: MakeWorld) -> None:
    def reply(number: int) -> ItemResult:
        busy = ItemResult(None, code=WireCode.OVERLOAD, message="busy")
        return busy if w.now_s < 8 else ItemResult(Hollow(40))

    w = world(config=DEFERRED, reply=reply)
    w.frames(1, 0.05)
    w.run(20.0)
    assert w.by() == {"cloud": 1}


def test_credit_is_renewed_before_it_is_too_small_for_the_largest_request() -> None:
    window_bytes, largest_bytes = 8000, 7000
    session = Session(1, b"peer", "device", 1000, 0.0, 64, window_bytes)
    session.received_bytes = session.released_bytes = 3000
    assert session.renew(64, window_bytes, largest_bytes) == Credit(64, 11_000)
    assert session.renew(64, window_bytes, largest_bytes) is None
    session.received_bytes = session.released_bytes = 3100
    assert session.renew(64, window_bytes, largest_bytes) is None


def test_a_very_slow_link_is_given_smaller_chunks_until_it_holds(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@0", config=DEFERRED, rate_bps=16e3)
    w.frames(3, 0.05)
    w.run(55.0)
    assert w.by() == {"cloud": 3}
