"""The worker machine: lists of events in, lists of actions out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.machines.session import ACK_S
from splitnet.machines.worker import WorkerConfig
from splitnet.machines.worker_io import (
    BatchDone,
    ItemResult,
    PeerGarbled,
    PeerGone,
    WorkerDrain,
    WorkerFinished,
    WorkerTick,
)
from splitnet.wire import (
    Bye,
    Cancel,
    CancelAck,
    Chunk,
    Credit,
    Error,
    Get,
    InferFlag,
    Message,
    Ping,
    Pong,
    ProgressAck,
    Reply,
    Welcome,
    checksum,
    size,
)
from tests.machines.worker_bench import ALICE, BOB, PAYLOAD, Bench, batches, refusal, sent


@pytest.fixture
def bench(sample_bundle: Bundle) -> Callable[..., Bench]:
    return lambda **options: Bench(sample_bundle.contract, WorkerConfig(**options))


def test_a_request_becomes_a_batch_and_then_a_reply(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    assert welcome.handles == ((0, 0), (0, 1), (0, 2), (0, 3))
    (batch,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    assert (batch.handle, batch.entry, batch.stop) == (0, 1, 3)
    assert [(i.path, i.level, i.payload) for i in batch.items] == [("c1", 1, PAYLOAD)]
    b.now_s = 0.004
    (reply,) = sent(b.finish(batch.batch, 1), Reply)
    assert (reply.request, reply.final, reply.stamp, reply.payload) == (1, True, 5, b"answer")
    assert (reply.queue_us, reply.decode_us, reply.run_us) == (0, 1000, 2000)
    assert reply.load.busy_permille > 0


def test_requests_behind_a_busy_executor_share_a_batch_across_paths_of_one_entry(
    bench: Callable[..., Bench],
) -> None:
    b = bench(max_batch=3)
    alice, bob = b.greet(ALICE), b.greet(BOB)
    (first,) = batches(b.say(ALICE, b.infer(alice, 1)))
    b.say(ALICE, b.infer(alice, 2))
    learned = bob.handles[3]
    assert learned is not None
    b.say(BOB, replace(b.infer(bob, 1), path=learned[1]))
    b.say(BOB, replace(b.infer(bob, 2), path=2))
    (second,) = batches(b.finish(first.batch, 1))
    assert [item.path for item in second.items] == ["c1", "bottleneck"]
    (third,) = batches(b.finish(second.batch, 2))
    assert [item.path for item in third.items] == ["c2"]


def test_the_smallest_budget_goes_first(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch=1)
    welcome = b.greet(ALICE)
    (running,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    b.say(ALICE, b.infer(welcome, 2))
    b.say(ALICE, replace(b.infer(welcome, 3, b"urgent"), budget_us=50_000))
    (batch,) = batches(b.finish(running.batch, 1))
    assert batch.items[0].payload == b"urgent"


def test_work_whose_budget_is_used_up_never_reaches_a_batch(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch=1)
    welcome = b.greet(ALICE)
    b.say(ALICE, b.infer(welcome, 1))
    b.say(ALICE, replace(b.infer(welcome, 2), budget_us=10_000))
    assert b.machine.wakeup_s == pytest.approx(0.01)
    b.now_s = 0.01
    (error,) = sent(b.machine.handle(WorkerTick(), b.now_s), Error)
    assert (error.request, error.code) == (2, WireCode.EXPIRED)


def busy_bench(make: Callable[..., Bench], batch_s: float, **options: int) -> tuple[Bench, Welcome]:
    """Return a bench that runs request 2 after it has learned that one takes `batch_s`."""
    b = make(**options)
    welcome = b.greet(ALICE)
    (first,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    b.now_s = batch_s
    b.finish(first.batch, 1)
    assert batches(b.say(ALICE, b.infer(welcome, 2)))
    return b, welcome


def test_work_that_cannot_end_within_its_budget_is_dropped_at_once(
    bench: Callable[..., Bench],
) -> None:
    b, welcome = busy_bench(bench, 0.010)
    error = refusal(b.say(ALICE, replace(b.infer(welcome, 3), budget_us=18_000)))
    assert (error.request, error.code) == (3, WireCode.EXPIRED)
    assert not sent(b.say(ALICE, replace(b.infer(welcome, 4), budget_us=25_000)), Error)
    b.now_s += 0.010
    (batch,) = batches(b.finish(2, 1))
    assert len(batch.items) == 1


def test_a_batch_is_no_larger_than_the_smallest_budget_allows(bench: Callable[..., Bench]) -> None:
    b, welcome = busy_bench(bench, 0.010)
    for request in range(3, 8):
        b.say(ALICE, replace(b.infer(welcome, request), budget_us=45_000))
    b.now_s += 0.010
    (batch,) = batches(b.finish(2, 1))
    assert len(batch.items) == 3
    b.now_s += 0.030
    actions = b.machine.handle(WorkerTick(), b.now_s)
    assert [error.request for error in sent(actions, Error)] == [6, 7]
    assert len(sent(b.finish(batch.batch, 3), Reply)) == 3


def test_an_idle_worker_tries_what_it_should_be_too_slow_for(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    (slow,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    b.now_s = 1.0
    b.finish(slow.batch, 1)
    assert batches(b.say(ALICE, replace(b.infer(welcome, 2), budget_us=100_000)))
    assert refusal(b.say(ALICE, replace(b.infer(welcome, 3), budget_us=100_000)))


def test_what_a_reply_has_acknowledged_is_not_acknowledged_again(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    (batch,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    b.now_s = ACK_S / 2
    assert sent(b.finish(batch.batch, 1), Reply)
    b.now_s = 2 * ACK_S
    assert not sent(b.machine.handle(WorkerTick(), b.now_s), ProgressAck)
    b.say(ALICE, Ping(1, 0))
    b.now_s += ACK_S
    (ack,) = sent(b.machine.handle(WorkerTick(), b.now_s), ProgressAck)
    everything: tuple[Message, ...] = (b.hello(), b.infer(welcome, 1), Ping(1, 0))
    assert ack.received_bytes == sum(size(message) for message in everything)


def test_a_request_that_takes_longer_is_acknowledged_before_its_reply(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    (batch,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    assert b.machine.wakeup_s == pytest.approx(ACK_S)
    b.now_s = ACK_S
    assert sent(b.machine.handle(WorkerTick(), b.now_s), ProgressAck)
    assert sent(b.finish(batch.batch, 1), Reply)


def test_sessions_are_forgotten_in_the_order_in_which_they_fell_silent(
    bench: Callable[..., Bench],
) -> None:
    b = bench(heartbeat_s=1.0)
    b.greet(ALICE), b.greet(BOB)
    b.now_s = 2.0
    b.say(ALICE, Ping(1, 0))
    b.now_s = 3.0
    b.machine.handle(WorkerTick(), b.now_s)
    assert b.machine.sessions == 1
    assert refusal(b.say(BOB, Ping(1, 0))).code is WireCode.NO_SESSION
    assert b.machine.wakeup_s == pytest.approx(5.0)


def test_chunks_are_assembled_in_order(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    head = replace(b.infer(welcome, 9, b"one"), flags=int(InferFlag.MORE_CHUNKS))
    assert not batches(b.say(ALICE, head))
    assert not batches(b.say(ALICE, Chunk(9, 0, 1, False, checksum(b"two"), b"two")))
    (batch,) = batches(b.say(ALICE, Chunk(9, 0, 2, True, checksum(b"three"), b"three")))
    assert batch.items[0].payload == b"onetwothree"


@pytest.mark.parametrize(
    ("chunk", "code"),
    [
        (Chunk(9, 0, 2, True, checksum(b"x"), b"x"), WireCode.MALFORMED),
        (Chunk(9, 1, 1, True, checksum(b"x"), b"x"), WireCode.MALFORMED),
        (Chunk(9, 0, 1, True, 1234, b"x"), WireCode.CORRUPT),
        (Chunk(9, 0, 1, False, checksum(b"x" * 600), b"x" * 600), WireCode.TOO_LARGE),
    ],
)
def test_a_bad_chunk_ends_its_own_request_only(
    bench: Callable[..., Bench], chunk: Chunk, code: WireCode
) -> None:
    b = bench(max_request_bytes=500)
    welcome = b.greet(ALICE)
    b.say(ALICE, replace(b.infer(welcome, 9, b"one"), flags=int(InferFlag.MORE_CHUNKS)))
    error = refusal(b.say(ALICE, chunk))
    assert (error.request, error.code) == (9, code)
    assert batches(b.say(ALICE, b.infer(welcome, 10, b"fine")))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"session": 99}, WireCode.NO_SESSION),
        ({"contract": 5}, WireCode.UNKNOWN_PATH),
        ({"path": 50}, WireCode.UNKNOWN_PATH),
        ({"level": 9}, WireCode.UNKNOWN_PATH),
        ({"stop": 2}, WireCode.UNSUPPORTED),
        ({"stream": 3}, WireCode.UNSUPPORTED),
        ({"refinements": 2}, WireCode.MALFORMED),
        ({"checksum": 1}, WireCode.CORRUPT),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_by_name(
    bench: Callable[..., Bench], change: dict[str, int], code: WireCode
) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    error = refusal(b.say(ALICE, replace(b.infer(welcome, 1), **change)))  # type: ignore[arg-type]
    assert (error.request, error.code) == (1, code)
    assert batches(b.say(ALICE, b.infer(welcome, 2)))


def test_a_request_number_under_way_is_refused(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    b.say(ALICE, b.infer(welcome, 1))
    assert refusal(b.say(ALICE, b.infer(welcome, 1))).code is WireCode.MALFORMED


def test_without_a_session_nothing_is_served(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    error = refusal(b.say(BOB, b.infer(welcome, 4)))
    assert (error.request, error.code) == (4, WireCode.NO_SESSION)


def test_other_versions_and_other_bundles_are_told_what_is_served(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    error = refusal(b.say(ALICE, replace(b.hello(), versions=(2, 3))))
    assert error.code is WireCode.VERSION
    assert "version 1" in error.detail and "2, 3" in error.detail
    error = refusal(b.say(ALICE, replace(b.hello(), paths=(bytes(32),))))
    assert error.code is WireCode.INCOMPATIBLE
    assert "sample" in error.detail


def test_a_partly_known_bundle_is_welcome(bench: Callable[..., Bench]) -> None:
    b = bench()
    hello = b.hello()
    (welcome,) = sent(b.say(ALICE, replace(hello, paths=(bytes(32), hello.paths[2]))), Welcome)
    assert welcome.handles == (None, (0, 2))


def test_credit_is_cumulative_and_renewed_when_half_is_free(bench: Callable[..., Bench]) -> None:
    b = bench(window_requests=4, max_batch=1)
    welcome = b.greet(ALICE)
    assert welcome.credit_requests == 4
    actions = b.say(ALICE, b.infer(welcome, 1))
    for request in (2, 3, 4):
        b.say(ALICE, b.infer(welcome, request))
    assert refusal(b.say(ALICE, b.infer(welcome, 5))).code is WireCode.OVERLOAD
    grants: list[Credit] = []
    for _ in range(4):
        (batch,) = batches(actions)
        actions = b.finish(batch.batch, 1)
        grants += sent(actions, Credit)
    assert grants and all(later.requests > earlier.requests for earlier, later in pairwise(grants))
    assert grants[-1].requests >= 4 + 4


def test_a_cancelled_request_holds_no_slot(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch=8)
    welcome = b.greet(ALICE)
    (running,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    b.say(ALICE, b.infer(welcome, 2))
    assert sent(b.say(ALICE, Cancel(2)), CancelAck) == [CancelAck(2, True)]
    assert sent(b.say(ALICE, Cancel(77)), CancelAck) == [CancelAck(77, False)]
    assert not batches(b.finish(running.batch, 1))


def test_a_bad_item_does_not_hurt_its_neighbours(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    (first,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    b.say(ALICE, b.infer(welcome, 2))
    b.say(ALICE, b.infer(welcome, 3))
    (second,) = batches(b.finish(first.batch, 1))
    bad = ItemResult(None, code=WireCode.CORRUPT, message="symbol out of range")
    actions = b.machine.handle(
        BatchDone(second.batch, 0.0, 0.0, (bad, ItemResult(b"fine"))), b.now_s
    )
    assert [e.request for e in sent(actions, Error)] == [2]
    assert [r.request for r in sent(actions, Reply)] == [3]


def test_a_reply_over_the_agents_limit_is_an_error_that_names_both(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    (welcome,) = sent(b.say(ALICE, replace(b.hello(), max_reply_bytes=4)), Welcome)
    (batch,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    (error,) = sent(b.finish(batch.batch, 1), Error)
    assert error.code is WireCode.REPLY_TOO_LARGE
    assert "6 bytes" in error.detail and "takes 4" in error.detail


def test_pings_are_answered_with_the_load(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.greet(ALICE)
    (pong,) = sent(b.say(ALICE, Ping(3, 1234)), Pong)
    assert (pong.number, pong.stamp, pong.load.queued) == (3, 1234, 0)


def test_a_peer_that_vanishes_is_purged(bench: Callable[..., Bench]) -> None:
    b = bench(max_batch=1)
    alice, bob = b.greet(ALICE), b.greet(BOB)
    (running,) = batches(b.say(BOB, b.infer(bob, 1)))
    b.say(ALICE, b.infer(alice, 1))
    b.machine.handle(PeerGone(ALICE), b.now_s)
    assert b.machine.sessions == 1
    assert not batches(b.finish(running.batch, 1))
    assert b.machine.counters["purged"] == 1


def test_a_silent_session_is_forgotten_and_a_late_result_orphaned(
    bench: Callable[..., Bench],
) -> None:
    b = bench(heartbeat_s=1.0)
    welcome = b.greet(ALICE)
    (batch,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    b.now_s = 3.0
    b.machine.handle(WorkerTick(), b.now_s)
    assert b.machine.sessions == 0
    assert not sent(b.finish(batch.batch, 1), Reply)
    assert b.machine.counters["orphaned_replies"] == 1


def test_a_restarted_agent_on_the_same_connection_gets_a_fresh_session(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    first, second = b.greet(ALICE), b.greet(ALICE)
    assert second.session != first.session
    assert b.machine.sessions == 1
    assert refusal(b.say(ALICE, b.infer(first, 1))).code is WireCode.NO_SESSION


def test_draining_answers_what_is_queued_and_says_bye(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    (batch,) = batches(b.say(ALICE, b.infer(welcome, 1)))
    assert not any(isinstance(a, WorkerFinished) for a in b.machine.handle(WorkerDrain(), b.now_s))
    error = refusal(b.say(ALICE, b.infer(welcome, 2)))
    assert error.code is WireCode.DRAINING and error.retry_after_ms > 0
    assert refusal(b.say(BOB, b.hello())).code is WireCode.DRAINING
    actions = b.finish(batch.batch, 1)
    assert len(sent(actions, Reply)) == 1 and len(sent(actions, Bye)) == 1
    assert isinstance(actions[-1], WorkerFinished)


def test_garbage_and_foreign_kinds_cost_only_their_sender(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    garbled = b.machine.handle(PeerGarbled(BOB, WireCode.MALFORMED, "no magic"), b.now_s)
    assert refusal(garbled).code is WireCode.MALFORMED
    assert refusal(b.say(ALICE, Get(bytes(32), 0, 1))).code is WireCode.UNSUPPORTED
    assert batches(b.say(ALICE, b.infer(welcome, 1)))


def test_no_reply_means_no_reply(bench: Callable[..., Bench]) -> None:
    b = bench()
    welcome = b.greet(ALICE)
    quiet = replace(b.infer(welcome, 1), flags=int(InferFlag.NO_REPLY))
    (batch,) = batches(b.say(ALICE, quiet))
    assert not sent(b.finish(batch.batch, 1), Reply)
