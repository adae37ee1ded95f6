"""The queue in front of a link."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.sim.capacity import Capacity, Looped, Opportunities, Steps, constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import Direction, Pipe

MICROSECOND_A_BYTE = constant(8e6)


def pipe(
    capacity: Capacity = MICROSECOND_A_BYTE, delay_s: float = 0.0, queue_bytes: int = 10_000
) -> Pipe:
    return Pipe(Direction(capacity, Delay((0.0,), (delay_s,)), queue_bytes))


def test_bytes_are_served_one_after_the_other() -> None:
    link = pipe(delay_s=0.1)
    assert link.send(1.0, 1000) == pytest.approx(1.101)
    assert link.send(1.0, 1000) == pytest.approx(1.102)
    assert link.send(2.0, 1000) == pytest.approx(2.101)


def test_the_queue_holds_what_has_not_left_yet() -> None:
    link = pipe(delay_s=0.1)
    link.send(1.0, 4000)
    assert link.backlog_bytes(1.001) == 3000
    assert link.room_bytes(1.001) == 7000
    assert link.backlog_bytes(1.004) == 0
    assert link.room_bytes(1.5) == 10_000


def test_room_comes_back_as_bytes_leave() -> None:
    link = pipe()
    link.send(1.0, 10_000)
    assert link.room_bytes(1.0) == 0
    assert link.room_at_s(1500) == pytest.approx(1.0015)
    assert link.room_at_s(10_001) == inf


def test_a_queue_may_be_overdrawn_by_who_does_not_ask() -> None:
    link = pipe()
    assert link.send(0.0, 50_000) == pytest.approx(0.05)
    assert link.room_bytes(0.001) == 0
    assert link.room_at_s(1) == pytest.approx(0.040001)


def test_an_opportunity_serves_several_small_payloads_and_is_lost_when_nobody_waits() -> None:
    link = pipe(Opportunities((0.010, 0.020, 0.030)))
    assert link.send(0.001, 700) == 0.010
    assert link.send(0.002, 700) == 0.010
    assert link.send(0.003, 700) == 0.020
    assert link.send(0.025, 1500) == 0.030
    assert link.send(0.026, 1) == inf


def test_a_late_reader_may_say_when_bytes_arrived() -> None:
    link = pipe()
    link.send(1.0, 1000)
    assert link.send(1.0005, 1000) == pytest.approx(1.002)
    assert link.busy_since_s == 1.0
    link.send(1.5, 10)
    assert link.busy_since_s == 1.5


def test_a_link_that_is_dead_for_good_never_delivers() -> None:
    link = pipe(Steps((0.0, 1.0), (8e6, 0.0)))
    assert link.send(0.9999, 50) == pytest.approx(0.99995)
    assert link.send(2.0, 1000) == inf
    assert link.backlog_bytes(1e9) == 1000


payloads = st.lists(
    st.tuples(st.floats(0.0, 0.05), st.integers(1, 20_000)), min_size=1, max_size=15
)
capacities = st.sampled_from(
    (
        MICROSECOND_A_BYTE,
        Looped(Opportunities((0.001, 0.004, 0.005, 0.02)), 0.02),
        Looped(Steps((0.0, 0.01, 0.02), (1e6, 0.0, 5e7)), 0.03),
    )
)


@given(capacities, payloads, st.integers(1, 4000))
def test_the_last_byte_does_not_care_how_a_payload_is_cut(
    capacity: Capacity, given_payloads: list[tuple[float, int]], piece: int
) -> None:
    whole, pieces = pipe(capacity, 0.01), pipe(capacity, 0.01)
    now_s = 0.0
    for gap_s, nbytes in given_payloads:
        now_s += gap_s
        expected_s = whole.send(now_s, nbytes)
        for start in range(0, nbytes, piece):
            arrival_s = pieces.send(now_s, min(piece, nbytes - start))
        assert arrival_s == pytest.approx(expected_s, abs=1e-6)
        assert pieces.backlog_bytes(now_s) == pytest.approx(whole.backlog_bytes(now_s), abs=1)


@given(capacities, payloads)
def test_a_sender_that_asks_for_room_never_exceeds_the_bound(
    capacity: Capacity, given_payloads: list[tuple[float, int]]
) -> None:
    link = pipe(capacity)
    now_s = arrived_s = 0.0
    for gap_s, nbytes in given_payloads:
        now_s += gap_s
        room_at_s = link.room_at_s(min(nbytes, 10_000))
        fits = min(nbytes, link.room_bytes(now_s))
        if nbytes <= 10_000:
            assert (fits == nbytes) == (room_at_s <= now_s + 1e-9) or abs(room_at_s - now_s) < 1e-6
        latest_s = link.send(now_s, fits)
        assert latest_s >= arrived_s
        arrived_s = latest_s
        assert link.backlog_bytes(now_s) <= 10_000
