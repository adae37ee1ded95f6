"""A worker that answers every part: what it keeps in between, and what ends it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.machines.worker import WorkerConfig
from splitnet.machines.worker_io import (
    BatchDone,
    ItemResult,
    RunBatch,
    WorkerAction,
    WorkerDrain,
    WorkerFinished,
)
from splitnet.wire import (
    Bye,
    Cancel,
    CancelAck,
    Credit,
    Error,
    InferFlag,
    Reply,
)
from tests.machines.worker_bench import ALICE, BUDGET_S, Scene, batches, item, refusal, sent

PARTIALS, MORE_CHUNKS = int(InferFlag.WANT_PARTIALS), int(InferFlag.MORE_CHUNKS)


class Worker(Scene):
    """The worker of `Scene`; requests want partial replies."""

    def base(self, request: int, payload: bytes = b"base", **changes: object) -> list[WorkerAction]:
        return super().base(request, payload, **{"flags": PARTIALS, **changes})

    def ends(self, batch: RunBatch) -> list[WorkerAction]:
        return self.finish(batch.batch, len(batch.items))

    def balanced(self) -> None:
        """Check that the session owes nothing."""
        (session,) = self.machine._sessions
        assert not (session.assembling or session.open_requests)
        assert session.released_bytes == session.received_bytes
        assert session.released_requests == session.received_requests


@pytest.fixture
def worker(refined: Bundle) -> Callable[..., Worker]:
    return lambda **options: Worker(refined.contract, WorkerConfig(**options))


def reply_of(actions: list[WorkerAction]) -> tuple[int, bool, int]:
    (reply,) = sent(actions, Reply)
    return reply.number, reply.final, reply.refinements


def one(actions: list[WorkerAction]) -> RunBatch:
    (batch,) = batches(actions)
    return batch


def test_every_part_that_is_whole_is_answered(worker: Callable[..., Worker]) -> None:
    w = worker()
    batch = one(w.base(1))
    assert (batch.items[0].payload, batch.items[0].refinements) == (b"base", ())
    assert reply_of(w.ends(batch)) == (0, False, 1)
    assert not batches(w.part(1, 1, b"o", last=False))
    batch = one(w.part(1, 1, b"ne", index=1))
    assert batch.items[0].refinements == (b"one",)
    assert reply_of(w.ends(batch)) == (1, False, 2)
    batch = one(w.part(1, 2, b"two"))
    assert batch.items[0].refinements == (b"one", b"two")
    assert reply_of(w.ends(batch)) == (2, True, 3)
    w.balanced()
    counters = w.machine.counters
    assert (counters["requests"], counters["replies"], counters["partial_replies"]) == (1, 1, 2)
    assert w.machine.wakeup_s is not None
    assert not batches(w.tick(10 * BUDGET_S))


def test_parts_that_come_while_it_runs_are_answered_together(worker: Callable[..., Worker]) -> None:
    w = worker()
    batch = one(w.base(1))
    assert not batches(w.part(1, 1, b"one") + w.part(1, 2, b"two"))
    actions = w.ends(batch)
    assert reply_of(actions) == (0, False, 1)
    batch = one(actions)
    assert batch.items[0].refinements == (b"one", b"two")
    assert not w.part(1, 3, b"three")
    assert reply_of(w.ends(batch)) == (1, True, 3)
    assert w.machine.counters["late_refinements"] == 1
    w.balanced()


def test_a_request_of_one_part_has_one_reply(worker: Callable[..., Worker]) -> None:
    w = worker()
    assert reply_of(w.ends(one(w.base(1, refinements=1)))) == (0, True, 1)
    w.balanced()


def test_who_wants_no_reply_wants_no_partial_one(worker: Callable[..., Worker]) -> None:
    w = worker()
    assert not batches(w.base(1, flags=PARTIALS | int(InferFlag.NO_REPLY)))
    w.part(1, 1, b"one")
    assert not sent(w.ends(one(w.part(1, 2, b"two"))), Reply)
    w.balanced()


def test_without_a_budget_parts_are_kept_until_more_comes(worker: Callable[..., Worker]) -> None:
    w = worker(heartbeat_s=100.0)
    w.ends(one(w.base(1, budget_us=0)))
    assert not batches(w.tick(99.0))
    assert item(w.part(1, 1, b"one")).refinements == (b"one",)


@pytest.mark.parametrize("answered", [0, 1])
def test_a_cancel_between_parts_ends_it(worker: Callable[..., Worker], answered: int) -> None:
    w = worker()
    w.ends(one(w.base(1)))
    if answered:
        w.ends(one(w.part(1, 1, b"one")))
    w.part(1, 1 + answered, b"half of", last=False)
    assert sent(w.say(ALICE, Cancel(1)), CancelAck) == [CancelAck(1, True)]
    w.balanced()
    assert not batches(w.part(1, 1 + answered, b" it", index=1))
    assert w.machine.counters["late_refinements"] == 1
    w.balanced()


def test_a_cancel_while_it_runs_takes_its_reply(worker: Callable[..., Worker]) -> None:
    w = worker()
    batch = one(w.base(1))
    assert sent(w.say(ALICE, Cancel(1)), CancelAck) == [CancelAck(1, True)]
    assert not w.base(1, b"again")  # the number is free again, and the executor is busy
    actions = w.ends(batch)
    assert not sent(actions, Reply)
    assert w.machine.counters["unwanted_replies"] == 1
    again = one(actions)
    assert again.items[0].payload == b"again"
    assert reply_of(w.ends(again)) == (0, False, 1)
    w.say(ALICE, Cancel(1))
    w.balanced()


def test_a_cancel_in_the_queue_takes_its_run(worker: Callable[..., Worker]) -> None:
    w = worker()
    first = one(w.base(1))
    w.base(2)
    assert sent(w.say(ALICE, Cancel(2)), CancelAck) == [CancelAck(2, True)]
    assert not batches(w.ends(first))
    w.say(ALICE, Cancel(1))
    w.balanced()


def test_behind_its_budget_what_waits_is_forgotten_quietly(worker: Callable[..., Worker]) -> None:
    w = worker(window_requests=1)
    w.ends(one(w.base(1)))
    w.now_s = 0.06
    assert w.machine.wakeup_s is not None and w.machine.wakeup_s <= BUDGET_S
    assert not sent(w.tick(0.99 * BUDGET_S), Credit)
    actions = w.tick(1.01 * BUDGET_S)
    assert sent(actions, Credit) and not sent(actions, Error)
    assert w.machine.counters["unfinished"] == 1
    w.balanced()
    assert not sent(w.part(1, 1, b"one"), Error)
    assert w.machine.counters["late_refinements"] == 1


def test_a_run_that_goes_on_behind_its_budget_is_the_last(worker: Callable[..., Worker]) -> None:
    w = worker()
    batch = one(w.base(1))
    w.tick(1.01 * BUDGET_S)
    assert reply_of(w.ends(batch)) == (0, True, 1)
    w.balanced()


def test_a_run_that_is_hopeless_ends_in_an_error(worker: Callable[..., Worker]) -> None:
    w = worker()
    blocked = one(w.base(1, budget_us=0))
    w.base(2)
    actions = w.tick(1.01 * BUDGET_S)
    assert [(e.request, e.code) for e in sent(actions, Error)] == [(2, WireCode.EXPIRED)]
    w.ends(blocked)
    w.say(ALICE, Cancel(1))
    w.balanced()


def test_behind_a_damaged_part_what_is_whole_is_the_answer(worker: Callable[..., Worker]) -> None:
    w = worker()
    w.ends(one(w.base(1)))
    batch = one(w.part(1, 1, b"one", damaged=True))
    assert batch.items[0].refinements == ()
    assert reply_of(w.ends(batch)) == (1, True, 1)
    assert not w.part(1, 1, b"one")
    w.balanced()


def test_a_part_that_is_damaged_while_it_runs_makes_the_run_the_last(
    worker: Callable[..., Worker],
) -> None:
    w = worker()
    batch = one(w.base(1))
    assert not batches(w.part(1, 1, b"one", damaged=True))
    actions = w.ends(batch)
    assert reply_of(actions) == (0, True, 1) and not batches(actions)
    w.balanced()


def test_a_part_out_of_order_ends_it(worker: Callable[..., Worker]) -> None:
    w = worker()
    batch = one(w.base(1))
    assert refusal(w.part(1, 2, b"two")).code is WireCode.MALFORMED
    assert not sent(w.ends(batch), Reply)
    w.balanced()


def test_a_run_that_fails_ends_it(worker: Callable[..., Worker]) -> None:
    w = worker()
    batch = one(w.base(1))
    failed = ItemResult(None, code=WireCode.BAD_TENSOR, message="no")
    actions = w.machine.handle(BatchDone(batch.batch, 0.0, 0.0, (failed,)), w.now_s)
    assert refusal(actions).code is WireCode.BAD_TENSOR
    w.balanced()


def test_a_draining_worker_answers_for_good(worker: Callable[..., Worker]) -> None:
    w = worker()
    w.ends(one(w.base(1)))
    running = one(w.base(2))
    w.base(3)
    assert not batches(w.machine.handle(WorkerDrain(), w.now_s))
    actions = w.ends(running)
    assert reply_of(actions) == (0, True, 1)
    batch = one(actions)
    actions = w.ends(batch)
    replies = {(r.request, r.number, r.final) for r in sent(actions, Reply)}
    assert replies == {(1, 1, True), (3, 0, True)}
    assert sent(actions, Bye) and isinstance(actions[-1], WorkerFinished)
    w.balanced()


def test_a_session_that_ends_takes_what_waits_and_runs(worker: Callable[..., Worker]) -> None:
    w = worker(heartbeat_s=0.02)
    w.ends(one(w.base(1)))
    running = one(w.base(2))
    w.base(3)
    w.tick(0.07)
    assert w.machine.sessions == 0 and w.machine.counters["purged"] == 3
    assert not w.ends(running)
    assert w.machine.counters["orphaned_replies"] == 1
    assert w.machine.wakeup_s is None


STEPS = st.tuples(
    st.integers(1, 3),  # request
    st.sampled_from(["base", "part", "part", "part", "cancel", "done", "done", "wait"]),
    st.integers(0, 3),  # refinement
    st.booleans(),  # last
    st.sampled_from([False] * 5 + [True]),  # damaged
    st.integers(0, 400),  # bytes
)


@given(steps=st.lists(STEPS, max_size=60), drains=st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_comes_in_whatever_order_the_credit_comes_back(
    refined: Bundle, steps: list[tuple[int, str, int, bool, bool, int]], drains: bool
) -> None:
    w = Worker(refined.contract, WorkerConfig(window_bytes=4000, max_request_bytes=1000))
    running: RunBatch | None = None
    finals: list[int] = []

    def note(actions: list[WorkerAction]) -> None:
        nonlocal running
        for batch in batches(actions):
            assert running is None
            running = batch
        finals.extend(r.request for r in sent(actions, Reply) if r.final)

    def end() -> None:
        nonlocal running
        if running is not None:
            batch, running = running, None
            note(w.ends(batch))

    bases = 0
    for request, kind, number, last, damaged, nbytes in steps:
        if kind == "base":
            flags = PARTIALS if last else PARTIALS | MORE_CHUNKS
            bases += 1
            note(w.base(request, bytes(nbytes), flags=flags, budget_us=50_000 * number))
        elif kind == "part":
            note(w.part(request, number, bytes(nbytes), last=last, damaged=damaged))
        elif kind == "cancel":
            note(w.say(ALICE, Cancel(request)))
        elif kind == "done":
            end()
        else:
            note(w.tick(w.now_s + 0.02))
        (session,) = w.machine._sessions
        occupied = [assembly.nbytes for assembly in session.assembling.values()]
        occupied += session.open_requests.values()
        assert session.received_bytes - session.released_bytes == sum(occupied)
        assert session.received_requests - session.released_requests == len(occupied)
    if drains:
        note(w.machine.handle(WorkerDrain(), w.now_s))
    else:
        for request in (1, 2, 3):
            note(w.say(ALICE, Cancel(request)))
    while running is not None:
        end()
    for request in (1, 2, 3):
        if not drains:
            note(w.say(ALICE, Cancel(request)))
    (session,) = w.machine._sessions
    assert len(finals) <= bases
    assert not session.open_requests
    left = session.assembling.values()
    assert not any(assembly.whole for assembly in left)
    if not drains:
        w.balanced()
