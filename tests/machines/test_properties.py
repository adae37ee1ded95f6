"""Whatever happens to link, worker and device: one answer for each request, none of them late."""

from __future__ import annotations

from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from splitnet.errors import WireCode
from splitnet.machines.agent import AgentConfig
from splitnet.machines.answering import is_late
from splitnet.machines.worker import WorkerConfig
from splitnet.machines.worker_io import ItemResult
from splitnet.wire import Hollow


class MakeWorld(Protocol):
    def __call__(self, **options: Any) -> Any: ...


PLANS = st.sampled_from(
    [
        "fixed:plan=input@1",
        "fixed:plan=c1@1",
        "fixed:plan=c1@2",
        "fixed:plan=c1@2+stops",
        "fixed:plan=c2@0",
        "fixed:plan=bottleneck@1+exits",
        "fixed:plan=device:end",
        "greedy",
        "greedy:floor=0.9",
    ]
)
CODES = st.sampled_from(list(WireCode))


def machine_class(
    make: MakeWorld, policies: st.SearchStrategy[str] = PLANS
) -> type[RuleBasedStateMachine]:
    class Life(RuleBasedStateMachine):
        """Frames, broken links, dead and slow workers, refusals, in any order."""

        def __init__(self) -> None:
            super().__init__()
            self.world: Any = None
            self.frames = 0
            self.epoch = 1
            self.code: WireCode | None = None

        @initialize(
            policy=policies,
            live=st.booleans(),
            window=st.sampled_from([1, 2, 64]),
            old_worker=st.sampled_from([False, False, True]),
        )
        def begin(self, policy: str, live: bool, window: int, old_worker: bool) -> None:
            self.world = make(
                policy=policy,
                config=AgentConfig(
                    deadline_s=0.1 if live else None, expiry_s=5.0, queue_frames=4, max_inflight=4
                ),
                worker_config=WorkerConfig(window_requests=window, max_batch=2),
                confidence=lambda frame: (frame * 37 % 101) / 100,
                sure=lambda reply: (reply.request + 3 * reply.refinements) % 10 / 10 or None,
                old_worker=old_worker,
                reply=self.answer,
            )

        def answer(self, number: int) -> ItemResult:
            if self.code is None:
                return ItemResult(Hollow(40))
            return ItemResult(None, code=self.code, message="refused by the test")

        @rule(gap_ms=st.integers(0, 60), number=st.integers(1, 4))
        def frames_come(self, gap_ms: int, number: int) -> None:
            w = self.world
            for i in range(number):
                self.frames += 1
                w.frames(1, 0.0, start_s=w.now_s + i * gap_ms / 1000)

        @rule(span_ms=st.integers(1, 2000))
        def time_passes(self, span_ms: int) -> None:
            self.world.run(self.world.now_s + span_ms / 1000)

        @rule(up=st.booleans())
        def link_changes(self, up: bool) -> None:
            self.world.link_up = up
            self.world.cut()

        @rule(up=st.booleans())
        def link_goes_silent(self, up: bool) -> None:
            self.world.link_up = up

        @rule()
        def worker_restarts(self) -> None:
            self.epoch += 1
            self.world.start_worker(self.epoch)
            self.world.cut()

        @rule(rate_bps=st.sampled_from([50e3, 500e3, 50e6]))
        def link_changes_speed(self, rate_bps: float) -> None:
            self.world.rate_bps = rate_bps

        @rule(batch_ms=st.sampled_from([1, 10, 300]))
        def worker_changes_speed(self, batch_ms: int) -> None:
            self.world.batch_s = batch_ms / 1000

        @rule(code=st.none() | CODES)
        def worker_refuses(self, code: WireCode | None) -> None:
            self.code = code

        @invariant()
        def at_most_one_answer_and_none_late(self) -> None:
            if self.world is None:  # before initialize
                return
            requests = [answer.request for answer in self.world.delivered]
            assert len(requests) == len(set(requests))
            assert not any(is_late(answer) for answer in self.world.delivered)
            assert not any(answer.error for answer in self.world.delivered)

        def teardown(self) -> None:
            if self.world is None:
                return
            w = self.world
            w.run(w.now_s + 30.0)
            assert w.agent.idle
            assert len(w.delivered) + len(w.dropped) == self.frames
            assert len(w.released) == len(w.delivered)
            w.balance()
            w.drain()
            assert w.finished

    return Life


@pytest.mark.parametrize("policies", [PLANS, st.just("fixed:plan=c1@2+stops")])
def test_every_request_ends_with_one_answer(
    refined_world: MakeWorld, policies: st.SearchStrategy[str]
) -> None:
    run_state_machine_as_test(
        machine_class(refined_world, policies),
        settings=settings(
            max_examples=150,
            stateful_step_count=25,
            deadline=None,
            phases=(Phase.generate,),
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
