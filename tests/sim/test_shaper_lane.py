"""One direction of the shaped link, without sockets."""

from __future__ import annotations

from math import inf

import pytest

from splitnet.sim.capacity import constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import CONTROL_BYTES, Direction
from splitnet.sim.shaper_lane import MAX_TOGETHER, Control, Lane
from splitnet.sim.shaper_sockets import kernel_bytes

QUEUE_BYTES = 65_536


def lane(queue_bytes: int = QUEUE_BYTES) -> Lane[str]:
    """A microsecond a byte, and 0.1 s of delay."""
    return Lane(Direction(constant(8e6), Delay((0.0,), (0.1,)), queue_bytes))


def test_bytes_arrive_packet_by_packet() -> None:
    way = lane()
    way.put(1.0, "a", b"x" * 4000)
    assert way.wakeup_s() == pytest.approx(1.1015)
    assert way.take(1.101) is None
    taken = way.take(1.1016)
    assert taken is not None
    sender, packets = taken
    assert sender == "a" and isinstance(packets, list)
    assert [len(packet) for packet in packets] == [1500]
    taken = way.take(1.2)
    assert taken is not None and isinstance(taken[1], list)
    assert [len(packet) for packet in taken[1]] == [1500, 1000]
    assert way.take(1.2) is None
    assert way.wakeup_s() == inf
    assert way.delay_error.count == 3


def test_what_is_due_together_is_taken_sender_by_sender_and_not_across_controls() -> None:
    way = lane()
    way.put(0.0, "a", b"x" * 1500)
    way.put(0.0, "b", b"x" * 3000)
    way.signal(0.0, "b", Control.END)
    way.put(0.0, "b", b"x")
    taken = []
    while found := way.take(9.0):
        taken.append((found[0], found[1] if isinstance(found[1], Control) else len(found[1])))
    assert taken == [("a", 1), ("b", 2), ("b", Control.END), ("b", 1)]


def test_not_more_is_taken_together_than_the_kernel_takes() -> None:
    way = lane(10_000_000)
    way.put(0.0, "a", b"x" * 1500 * (MAX_TOGETHER + 1))
    sizes = []
    while taken := way.take(9.0):
        sizes.append(len(taken[1]) if isinstance(taken[1], list) else 0)
    assert sizes == [MAX_TOGETHER, 1]


def test_what_the_kernel_may_hold_counts_as_queue() -> None:
    way = lane()
    one = kernel_bytes(QUEUE_BYTES)
    assert way.room_bytes(0.0) == QUEUE_BYTES - one
    way.waiting.extend("abc")
    assert way.room_bytes(0.0) == QUEUE_BYTES - 3 * one
    way.waiting.extend("x" * 1000)
    assert 0 < way.room_bytes(0.0) <= 1500


def test_reading_goes_on_when_it_is_worth_while() -> None:
    way = lane()
    room = way.room_bytes(0.0)
    way.put(0.0, "a", b"x" * room)
    assert way.room_bytes(0.0) == way.room_bytes(0.001) == 0
    way.waiting.append("a")
    resumes_s = way.pipe.room_at_s(kernel_bytes(QUEUE_BYTES) + QUEUE_BYTES // 16)
    assert way.wakeup_s() == resumes_s
    assert way.room_bytes(resumes_s - 1e-3) == 0
    assert way.room_bytes(resumes_s + 1e-6) >= QUEUE_BYTES // 16


def test_what_a_receiver_has_not_taken_counts_as_queue_and_stops_the_timer() -> None:
    way = lane()
    free = way.room_bytes(0.0)
    way.overdue(20_000, 1.0)
    assert way.room_bytes(1.0) == free - 20_000
    way.waiting.append("a")
    assert way.wakeup_s() == inf
    way.overdue(-20_000, 3.0)
    assert (way.room_bytes(3.0) > 0, way.unblocked_s) == (True, 3.0)


def test_an_opening_needs_room_as_well() -> None:
    way = lane(1500)
    assert way.takes_control(0.0)
    way.signal(0.0, "a", Control.OPEN)
    assert way.wakeup_s() == pytest.approx(0.1 + CONTROL_BYTES * 1e-6)
    way.put(0.0, "a", b"x" * 1450)
    assert not way.takes_control(0.0)
