"""A base and refinements on their way: what arrives is used, what does not is not waited for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.machines.agent import AgentConfig
from splitnet.machines.agent_io import Received
from splitnet.machines.answering import is_late
from splitnet.machines.batching import Work
from splitnet.machines.intake import Intake, Outcome
from splitnet.machines.pacing import FIRST_CHUNK_BYTES, FIRST_WINDOW_BYTES
from splitnet.machines.session import ACK_S
from splitnet.machines.sessions import Sessions
from splitnet.machines.uplink import Uplink
from splitnet.machines.waiting import TIDY_AT
from splitnet.machines.worker import SPARE_S, WorkerConfig
from splitnet.machines.worker_io import (
    BatchItem,
    WorkerDrain,
)
from splitnet.values import Load, RequestClass
from splitnet.wire import (
    Cancel,
    CancelAck,
    Chunk,
    Error,
    Hollow,
    Infer,
    InferFlag,
    Message,
    ProgressAck,
    Reply,
    checksum,
    size,
)
from tests.machines.conftest import REFINED_BYTES, World
from tests.machines.worker_bench import ALICE, BUDGET_S, Scene, batches, item, refusal, sent
from tests.refined_bundle import REFINED_LEVEL

MORE_CHUNKS = int(InferFlag.MORE_CHUNKS)


@pytest.fixture
def scene(refined: Bundle) -> Callable[..., Scene]:
    return lambda **options: Scene(refined.contract, WorkerConfig(**options))


# --- the worker ---------------------------------------------------------------------------------


def test_with_all_refinements_a_request_runs_at_once(scene: Callable[..., Scene]) -> None:
    s = scene()
    assert not batches(s.base(1))
    assert not batches(s.part(1, 1, b"one"))
    (batch,) = batches(s.part(1, 2, b"two"))
    assert batch.items == (BatchItem("c1", REFINED_LEVEL, b"base", (), (b"one", b"two")),)
    assert s.answer(batch).refinements == 3
    assert s.machine.counters["early_requests"] == 0


def test_every_refinement_may_come_in_chunks(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.base(1, b"ba", flags=MORE_CHUNKS)
    s.part(1, 0, b"se", index=1)
    s.part(1, 1, b"o", index=0, last=False)
    s.part(1, 1, b"", index=1, last=False)
    s.part(1, 1, b"ne", index=2)
    found = item(s.part(1, 2, b""))
    assert (found.payload, found.refinements) == (b"base", (b"one", b""))


@pytest.mark.parametrize("arrived", [0, 1])
def test_near_the_end_of_its_budget_a_request_runs_with_what_arrived(
    scene: Callable[..., Scene], arrived: int
) -> None:
    s = scene()
    s.base(1)
    if arrived:
        s.now_s = 0.01
        s.part(1, 1, b"one")
    s.part(1, 1 + arrived, b"half of it", last=False)
    due_s = BUDGET_S - SPARE_S
    assert not batches(s.tick(due_s - 0.001))
    assert s.machine.wakeup_s == pytest.approx(due_s)
    (batch,) = batches(s.tick(due_s))
    assert batch.items[0].refinements == (b"one",) * arrived
    reply = s.answer(batch)
    assert reply.refinements == 1 + arrived
    assert reply.queue_us == round(1e6 * (due_s - 0.01 * arrived))
    assert s.machine.counters["early_requests"] == 1


def test_the_time_that_a_batch_takes_is_kept_free(scene: Callable[..., Scene]) -> None:
    s = scene()
    (batch,) = batches(s.base(1, refinements=1, budget_us=0))
    s.now_s = 0.02
    s.finish(batch.batch, 1)
    s.base(2)
    assert not batches(s.tick(0.02 + BUDGET_S - SPARE_S - 0.021))
    assert batches(s.tick(0.02 + BUDGET_S - SPARE_S - 0.019))


def test_a_budget_too_small_for_waiting_runs_the_base(scene: Callable[..., Scene]) -> None:
    s = scene()
    assert item(s.base(1, budget_us=5000)).refinements == ()


def test_without_a_budget_all_refinements_are_waited_for(scene: Callable[..., Scene]) -> None:
    s = scene(heartbeat_s=100.0)
    s.base(1, budget_us=0)
    s.part(1, 1, b"one")
    assert not batches(s.tick(100.0))
    assert item(s.part(1, 2, b"two")).refinements == (b"one", b"two")


def test_a_damaged_refinement_is_one_that_never_comes(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.base(1)
    s.part(1, 1, b"one")
    (batch,) = batches(s.part(1, 2, b"two", damaged=True))
    assert batch.items[0].refinements == (b"one",)
    assert s.answer(batch).refinements == 2
    assert s.machine.counters["damaged_refinements"] == 1


def test_a_damaged_base_ends_its_request(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.base(1, flags=MORE_CHUNKS)
    assert refusal(s.part(1, 0, b"x", index=1, damaged=True)).code is WireCode.CORRUPT
    assert refusal(s.base(2, checksum=1)).code is WireCode.CORRUPT
    assert not sent(s.part(1, 1, b"one"), Reply)
    assert s.machine.counters["late_refinements"] == 1


@pytest.mark.parametrize(
    ("refinement", "index", "reason"),
    [
        (2, 0, "chunk 0 of refinement 2 is out of order: chunk 0 of refinement 1 is next"),
        (1, 1, "chunk 1 of refinement 1 is out of order: chunk 0 of refinement 1 is next"),
        (0, 1, "chunk 1 of refinement 0 is out of order"),
        (63, 0, "chunk 0 of refinement 63 is out of order"),
    ],
)
def test_refinements_out_of_order_end_their_request(
    scene: Callable[..., Scene], refinement: int, index: int, reason: str
) -> None:
    s = scene()
    s.base(1)
    error = refusal(s.part(1, refinement, b"x", index=index))
    assert (error.request, error.code) == (1, WireCode.MALFORMED)
    assert reason in error.detail
    assert not batches(s.tick(2 * BUDGET_S))


def test_more_refinements_than_the_level_has_are_refused_at_once(
    scene: Callable[..., Scene],
) -> None:
    s = scene()
    error = refusal(s.base(1, refinements=4))
    assert error.code is WireCode.MALFORMED
    assert "4 refinements announced, level 2 of path c1 has 3" in error.detail
    assert refusal(s.base(2, level=0, refinements=2)).code is WireCode.MALFORMED
    s.base(3, refinements=2)
    assert item(s.part(3, 1, b"one")).refinements == (b"one",)


def test_a_refinement_behind_the_announced_ones_is_late(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.base(1, refinements=2)
    (batch,) = batches(s.part(1, 1, b"one"))
    assert not s.part(1, 2, b"two")
    assert s.answer(batch).refinements == 2
    assert not s.part(1, 2, b"two")
    assert s.machine.counters["late_refinements"] == 2


def test_late_refinements_give_their_credit_back(scene: Callable[..., Scene]) -> None:
    s = scene(window_bytes=4096, max_request_bytes=2048)
    for request in range(1, 30):
        (batch,) = batches(s.base(request, bytes(100), budget_us=5000))
        assert not sent(s.part(request, 1, bytes(900)), Error)
        s.finish(batch.batch, 1)
        assert not sent(s.part(request, 2, bytes(900)), Error)
    assert s.machine.counters["late_refinements"] == 58


def test_all_refinements_together_stay_inside_the_limit_of_a_request(
    scene: Callable[..., Scene],
) -> None:
    s = scene(max_request_bytes=1000)
    s.base(1, bytes(500))
    s.part(1, 1, bytes(400))
    error = refusal(s.part(1, 2, bytes(101)))
    assert error.code is WireCode.TOO_LARGE and "1000 bytes" in error.detail


def test_refinements_are_paid_from_the_credit(scene: Callable[..., Scene]) -> None:
    s = scene(window_bytes=1000, max_request_bytes=900)
    s.base(1, bytes(400))
    s.part(1, 1, bytes(400))
    s.base(2, bytes(150))
    error = refusal(s.part(2, 1, bytes(100)))
    assert (error.request, error.code) == (2, WireCode.OVERLOAD)


def test_a_request_that_is_held_can_be_cancelled(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.base(1)
    s.part(1, 1, b"one")
    assert sent(s.say(ALICE, Cancel(1)), CancelAck) == [CancelAck(1, True)]
    assert not batches(s.tick(10.0 * BUDGET_S))
    assert not s.part(1, 2, b"two")
    assert s.machine.counters["early_requests"] == 0
    s.base(1)  # the number is free again, and nothing of before counts
    s.part(1, 1, b"new")
    assert item(s.part(1, 2, b"two")).refinements == (b"new", b"two")


def test_requests_that_wait_no_longer_are_forgotten(refined: Bundle) -> None:
    config = WorkerConfig()
    scene = Scene(refined.contract, config)
    session, _ = Sessions({0: refined.contract}, config, 1).open(ALICE, scene.hello(), 0.0)
    intake = Intake({0: refined.contract}, config, Counter())
    base = replace(scene.infer(scene.welcome, 1), level=REFINED_LEVEL, refinements=2)
    session.granted_requests = session.granted_bytes = 10**9
    intake.begin(session, replace(base, request=10_000, budget_us=1), 0.0)
    for request in range(1, 1000):
        assert intake.begin(session, replace(base, request=request), 0.0) is None
        session.abandon(request)
    assert intake.due_s == pytest.approx(1e-6)
    assert len(intake._held) <= 2 + TIDY_AT


def test_a_session_that_ends_takes_what_is_held_with_it(scene: Callable[..., Scene]) -> None:
    s = scene(heartbeat_s=0.02)
    s.base(1)
    assert not batches(s.tick(0.06))
    assert s.machine.sessions == 0 and s.machine.counters["purged"] == 1
    assert s.machine.wakeup_s is None
    assert not batches(s.tick(1.0))


def test_a_draining_worker_answers_with_what_it_has(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.base(1)
    s.base(2, budget_us=0)
    s.base(3, flags=MORE_CHUNKS)
    actions = s.machine.handle(WorkerDrain(), s.now_s)
    (batch,) = batches(actions)
    assert len(batch.items) == 2 and not any(i.refinements for i in batch.items)
    actions = s.part(3, 0, b"", index=1)
    assert not batches(actions)
    (last,) = batches(s.finish(batch.batch, 2))
    assert len(last.items) == 1


def test_a_reply_acknowledges_what_it_is_made_of(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.base(1, budget_us=5000)
    s.part(1, 1, b"one")
    assert sent(s.finish(1, 1), Reply)[0].refinements == 1
    (ack,) = sent(s.tick(ACK_S), ProgressAck)
    base = replace(
        s.infer(s.welcome, 1, b"base"), level=REFINED_LEVEL, refinements=3, budget_us=5000
    )
    chunk = Chunk(1, 1, 0, True, checksum(b"one"), b"one")
    everything: tuple[Message, ...] = (s.hello(), base, chunk)
    assert ack.received_bytes == sum(map(size, everything))


PIECES = st.tuples(
    st.integers(1, 3),  # request
    st.sampled_from(["base", "part", "part", "part", "part", "cancel", "answer", "wait"]),
    st.integers(0, 3),  # refinement
    st.integers(0, 2),  # index
    st.booleans(),  # last
    st.sampled_from([False] * 5 + [True]),  # damaged
    st.integers(0, 600),  # bytes
)


@given(pieces=st.lists(PIECES, max_size=60))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_an_agent_sends_every_byte_is_accounted_for(
    refined: Bundle, pieces: list[tuple[int, str, int, int, bool, bool, int]]
) -> None:
    config = WorkerConfig(window_bytes=5000, max_request_bytes=1000)
    scene = Scene(refined.contract, config)
    sessions = Sessions({0: refined.contract}, config, epoch=1)
    session, _ = sessions.open(ALICE, scene.hello(), 0.0)
    intake = Intake({0: refined.contract}, config, Counter())
    announced: dict[int, int] = {}
    for step, (request, kind, number, index, last, damaged, nbytes) in enumerate(pieces):
        payload, now_s = bytes(nbytes), 0.01 * step
        check = checksum(payload) ^ damaged
        made: list[Outcome] = []
        if kind == "base":
            infer = replace(
                scene.infer(scene.welcome, request, payload),
                level=REFINED_LEVEL,
                refinements=1 + number,
                budget_us=50_000 * index,
                flags=0 if last else MORE_CHUNKS,
                checksum=check,
            )
            known = {*session.assembling, *session.open_requests}
            if request not in known:
                announced[request] = infer.refinements
            made = [intake.begin(session, infer, now_s)]
        elif kind == "part":
            chunk = Chunk(request, number, index, last, check, payload)
            made = [intake.extend(session, chunk, now_s)]
        elif kind == "cancel":
            session.abandon(request)
        elif kind == "wait":
            made = [*intake.release(now_s, 0.0)]
        elif request in session.open_requests:
            session.finish(request)
        for work in made:
            if isinstance(work, Work):
                parts = (work.item.payload, *work.item.refinements)
                assert len(parts) <= announced[work.request] <= 3
                assert sum(map(len, parts)) <= config.max_request_bytes
                assert work.request in session.open_requests
        occupied = [assembly.nbytes for assembly in session.assembling.values()]
        occupied += session.open_requests.values()
        assert session.received_bytes - session.released_bytes == sum(occupied)
        assert session.received_requests - session.released_requests == len(occupied)
        assert (intake.due_s == inf) or session.assembling
    intake.release(inf, 0.0)
    assert all(not assembly.whole for assembly in session.assembling.values())


# --- the agent ----------------------------------------------------------------------------------


def refined_world(bundle: Bundle, **options: object) -> World:
    policy = f"fixed:plan=c1@{REFINED_LEVEL}"
    usual = {"policy": policy, "config": AgentConfig(deadline_s=0.2)}
    return World(bundle, **{**usual, **options})  # type: ignore[arg-type]


def test_on_a_good_link_the_answer_is_made_of_all_refinements(refined: Bundle) -> None:
    w = refined_world(refined)
    w.frames(1, 0.0)
    w.run(1.0)
    (answer,) = w.delivered
    assert answer.provenance.answered_by == "cloud"
    assert answer.provenance.refinements == (3, 3)
    assert answer.provenance.uplink_bytes == sum(REFINED_BYTES)
    (infer,) = [m for m in w.sent if isinstance(m, Infer)]
    assert (infer.refinements, len(infer.payload)) == (3, REFINED_BYTES[0])
    chunks = [m for m in w.sent if isinstance(m, Chunk)]
    assert [c.refinement for c in chunks if c.last] == [1, 2]


def test_on_a_poor_link_the_answer_is_made_of_what_came_in_time(refined: Bundle) -> None:
    w = refined_world(refined, rate_bps=100e3)
    w.frames(3, 2.0)
    w.run(8.0)
    assert w.by() == {"cloud": 3}
    for answer in w.delivered:
        origin = answer.provenance
        assert origin.refinements is not None and 1 <= origin.refinements[0] < 3
        assert REFINED_BYTES[0] <= origin.uplink_bytes <= sum(REFINED_BYTES)
        assert not is_late(answer)
    # Once the link is known, no more leaves than it carries.
    assert all(answer.provenance.uplink_bytes < 4000 for answer in w.delivered[1:])
    assert w.worker.counters["early_requests"] == 3
    assert not any(isinstance(m, Cancel) for m in w.sent)
    assert w.agent.idle


def test_a_deferred_request_gets_all_refinements_however_long_it_takes(refined: Bundle) -> None:
    w = refined_world(refined, rate_bps=20e3, config=AgentConfig(deadline_s=None))
    w.frames(1, 0.0)
    w.run(20.0)
    (answer,) = w.delivered
    assert answer.provenance.refinements == (3, 3)


def test_an_answer_made_of_more_than_was_sent_is_damaged(refined: Bundle) -> None:
    w = refined_world(refined)
    w.frames(1, 0.0)
    w.run(0.11)
    (infer,) = [m for m in w.sent if isinstance(m, Infer)]
    reply = Reply(infer.request, 0, True, 4, 0, 0, 0, 0, Load(), infer.stamp, (), 0, 0, Hollow(40))
    w.tell(Received(reply))
    assert w.agent.counters["damaged_replies"] == 1


def uplink(refined: Bundle) -> Uplink:
    welcome = Scene(refined.contract, WorkerConfig(window_bytes=100_000)).welcome
    return Uplink(welcome, 1 << 18)


def put(link: Uplink, request: int, *nbytes: int) -> None:
    link.put(
        0,
        [Hollow(n) for n in nbytes],
        request=request,
        level=1,
        stop=3,
        request_class=RequestClass.LIVE,
        budget_us=5,
        dims=(),
    )


def test_every_base_leaves_before_any_refinement(refined: Bundle) -> None:
    link = uplink(refined)
    put(link, 1, 9000, 100, 9000)
    put(link, 2, 50)
    messages = link.pump(0.01, None, 0.0)
    link.on_ack(ProgressAck(link.pacer.sent_bytes), 0.1)
    messages += link.pump(0.01, None, 0.1)
    order = [
        (m.request, 0, 0) if isinstance(m, Infer) else (m.request, m.refinement, m.index)
        for m in messages
    ]
    assert order[:6] == [(1, 0, 0), (1, 0, 1), (2, 0, 0), (1, 1, 0), (1, 2, 0), (1, 2, 1)]


def test_refinements_fill_less_of_a_slow_link_than_bases(refined: Bundle) -> None:
    refinement, base = uplink(refined), uplink(refined)
    put(refinement, 1, 10, 60_000)
    put(base, 1, 60_000)
    left = [sum(size(m) for m in link.pump(0.01, None, 0.0)) for link in (refinement, base)]
    assert left[0] < FIRST_CHUNK_BYTES + 8300 < FIRST_WINDOW_BYTES <= left[1]


def test_refinements_that_have_not_left_are_taken_back(refined: Bundle) -> None:
    link = uplink(refined)
    put(link, 1, 1000, 30_000, 60_000)
    assert not link.has_credit(10_000)
    left = sum(len(m.payload) for m in link.pump(0.01, None, 0.0))
    assert 1000 < left < 50_000
    link.on_reply(1, 1, 0.1)
    assert link.pacer.unacked_bytes > left - 2000
    assert link.cancel(1) == [Cancel(1)]
    assert not link.waiting
    assert link.has_credit(100_000 - left) and not link.has_credit(100_001 - left)
