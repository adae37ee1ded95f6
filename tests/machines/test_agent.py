"""The agent machine with a worker machine on the other side, event by event in virtual time."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from splitnet.errors import UnknownNameError, WireCode
from splitnet.machines.agent import AgentConfig
from splitnet.machines.agent_io import Encode, Garbled, Prepare, RunExit, RunSegments
from splitnet.machines.answering import is_late
from splitnet.machines.worker import WorkerConfig
from splitnet.machines.worker_io import ItemResult
from splitnet.wire import Bye, Cancel, Hollow, Infer

LIVE = AgentConfig(deadline_s=0.1, queue_frames=8)
DEFERRED = AgentConfig(queue_frames=8)


class MakeWorld(Protocol):
    def __call__(self, **options: Any) -> Any: ...


def test_a_deferred_request_takes_the_whole_road(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1")
    w.frames(1, 0.05)
    w.run(1.0)
    assert w.stages == [Prepare(), RunSegments(0, 1), Encode("c1", 1)]
    (answer,) = w.delivered
    assert answer.provenance.answered_by == "cloud"
    assert answer.provenance.plan == "c1@1"
    assert answer.provenance.device_segments == (0, 1)
    assert answer.provenance.cloud_segments == (1, 3)
    assert answer.provenance.uplink_bytes == 2048
    assert answer.provenance.downlink_bytes == 40
    assert set(answer.provenance.stages_s) >= {"prepare", "segment:0", "network", "cloud:run"}
    assert answer.deadline_s is None and answer.late_s is None
    assert w.released == [1]


def test_every_frame_is_answered_once_and_none_late(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1", config=LIVE)
    w.frames(100, 0.02)
    w.run(5.0)
    assert w.answered_frames() == list(range(100))
    assert w.by() == {"cloud": 100}
    assert not any(is_late(answer) for answer in w.delivered)
    assert w.agent.idle


def test_a_dead_link_costs_accuracy_never_an_answer(world: MakeWorld) -> None:
    w = world(policy="greedy", config=LIVE, link_up=False)
    w.frames(50, 0.02)
    w.run(5.0)
    assert w.answered_frames() == list(range(50))
    assert "cloud" not in w.by()
    assert not any(is_late(answer) for answer in w.delivered)


def test_a_confident_exit_answers_and_sends_nothing(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c2@1+exits", config=LIVE, confidence=lambda frame: frame % 2)
    w.frames(20, 0.05)
    w.run(5.0)
    assert w.by() == {"exit": 10, "cloud": 10}
    assert sum(isinstance(message, Infer) for message in w.sent) == 10
    assert all(a.provenance.exit == "e1" for a in w.delivered if a.frame % 2)


def test_without_an_exit_rule_a_confident_exit_is_only_the_fallback(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c2@1", config=LIVE, confidence=lambda frame: 1.0)
    w.frames(10, 0.05)
    w.run(5.0)
    assert w.by() == {"cloud": 10}
    assert w.stages.count(RunExit("e1")) == 10


def test_a_slow_cloud_is_overtaken_by_the_exit_at_the_deadline(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1", config=LIVE, batch_s=0.5)
    w.frames(1, 0.05)
    w.run(2.0)
    (answer,) = w.delivered
    assert answer.provenance.answered_by == "exit"
    assert answer.late_s == pytest.approx(-LIVE.guard_s)
    assert any(isinstance(message, Cancel) for message in w.sent)
    assert w.worker.counters["replies"] + w.worker.counters["expired"] == 1
    assert w.agent.counters["late_replies"] <= 1


def test_a_path_before_the_exit_is_rescued_in_time(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=input@1", config=LIVE, batch_s=0.5)
    w.frames(30, 0.02)
    w.run(3.0)
    assert w.answered_frames() == list(range(30))
    # The network's end where the worker said soon enough that it could not make it.
    assert set(w.by()) == {"exit", "device"}
    assert not any(is_late(answer) for answer in w.delivered)


def test_frames_that_cannot_make_it_are_dropped_before_admission(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=device:end", config=AgentConfig(deadline_s=0.03, queue_frames=1))
    w.frames(100, 0.004)
    w.run(5.0)
    assert len(w.delivered) + len(w.dropped) == 100
    assert w.agent.counters["dropped_frames"] == len(w.dropped) > 0
    assert not any(is_late(answer) for answer in w.delivered)


def test_a_worker_that_restarts_gets_deferred_requests_again(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1", batch_s=0.05, config=DEFERRED)
    w.frames(6, 0.01)
    w.run(0.14)
    assert len(w.delivered) < 6
    w.start_worker(epoch=2)
    w.cut()
    w.run(3.0)
    assert w.answered_frames() == list(range(6))
    assert w.by() == {"cloud": 6}
    assert any("worker=restarted" in report for report in w.reports)


def test_live_requests_are_answered_locally_when_the_connection_breaks(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1", config=LIVE, batch_s=0.05)
    w.frames(3, 0.01)
    w.run(0.14)
    w.link_up = False
    w.cut()
    w.run(3.0)
    assert w.answered_frames() == [0, 1, 2]
    assert not any(is_late(answer) for answer in w.delivered)


def test_a_deferred_request_expires_into_a_local_answer(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1", config=AgentConfig(expiry_s=2.0), link_up=False)
    w.frames(2, 0.01)
    w.run(1.5)
    assert not w.delivered
    w.run(3.0)
    assert w.answered_frames() == [0, 1]
    assert w.by() == {"device": 2}  # there was time for the whole network


def test_a_lost_reply_to_a_bad_item_does_not_lose_the_request(world: MakeWorld) -> None:
    answers = iter([ItemResult(None, code=WireCode.CORRUPT, message="bad"), ItemResult(Hollow(40))])
    w = world(policy="fixed:plan=c1@1", reply=lambda number: next(answers))
    w.frames(1, 0.05)
    w.run(2.0)
    assert w.by() == {"cloud": 1}
    assert w.refusals(WireCode.CORRUPT) == 1


def test_a_refused_path_is_not_tried_again(world: MakeWorld) -> None:
    refusal = ItemResult(None, code=WireCode.REPLY_TOO_LARGE, message="too large")
    w = world(policy="fixed:plan=c1@1", reply=lambda number: refusal)
    w.frames(1, 0.05)
    w.run(2.0)
    assert w.by() == {"device": 1}
    assert sum(isinstance(message, Infer) for message in w.sent) == 1


def test_credit_bounds_what_is_under_way(world: MakeWorld) -> None:
    window = WorkerConfig(window_requests=2, max_batch=1)
    w = world(policy="fixed:plan=c1@1", worker_config=window, batch_s=0.05, config=DEFERRED)
    w.frames(8, 0.001)
    w.run(0.3)
    assert w.agent.counters["waits_for_credit"] > 0
    w.run(5.0)
    assert w.by() == {"cloud": 8}
    assert w.refusals(WireCode.OVERLOAD) == 0


def test_a_worker_that_never_grants_credit_costs_no_live_answer(world: MakeWorld) -> None:
    stingy = WorkerConfig(window_requests=0)
    w = world(policy="fixed:plan=c1@1", worker_config=stingy, config=LIVE)
    w.frames(10, 0.05)
    w.run(3.0)
    assert w.answered_frames() == list(range(10))
    assert w.by() == {"exit": 10}


def test_another_bundle_is_refused_in_one_line_and_nothing_is_lost(
    world: MakeWorld, sample_bundle: Any
) -> None:
    w = world(policy="fixed:plan=c1@1", config=LIVE)
    w.worker = type(w.worker)({}, WorkerConfig(), 1)
    w.frames(5, 0.05)
    w.run(1.0)
    assert w.answered_frames() == list(range(5))
    assert any("incompatible" in report for report in w.reports)


def test_garbage_from_the_worker_closes_the_connection(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1", config=LIVE)
    w.run(0.05)
    assert w.agent.link_ready
    w.tell(Garbled("8 random bytes"))
    assert not w.agent.link_ready
    assert w.agent.counters["garbled"] == 1


def test_draining_answers_what_was_admitted_and_says_bye(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1", batch_s=0.05)
    w.frames(3, 0.001)
    w.run(0.11)
    w.drain()
    assert not w.finished
    w.run(1.0)
    assert w.finished
    assert len(w.delivered) + len(w.dropped) == 3
    assert isinstance(w.sent[-1], Bye)
    assert w.agent.wakeup_s is None


def test_a_silent_worker_is_given_up_and_found_again(world: MakeWorld) -> None:
    w = world(policy="fixed:plan=c1@1")
    w.run(0.5)
    w.link_up = False
    w.run(6.0)
    assert any("silent" in report for report in w.reports)
    w.link_up = True
    w.frames(1, 0.05, start_s=6.0)
    w.run(20.0)
    assert w.by() == {"cloud": 1}


def test_an_unknown_plan_is_named_with_the_nearest(world: MakeWorld) -> None:
    with pytest.raises(UnknownNameError, match=r"'c1@7'.*did you mean.*the bundle has"):
        world(policy="fixed:plan=c1@7")


def test_the_same_events_give_the_same_actions(world: MakeWorld) -> None:
    def play() -> list[object]:
        w = world(policy="greedy", config=LIVE, confidence=lambda frame: (frame * 37 % 100) / 100)
        w.frames(60, 0.013)
        w.at(0.4, w.cut)
        w.run(3.0)
        return [*w.delivered, *w.sent, *w.stages]

    assert play() == play()
