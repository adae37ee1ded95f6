"""Curves of capacity and their inverses."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.sim.capacity import Capacity, Looped, Opportunities, Steps, Switched, constant

DURATION_S = 10.0
ROUNDING_S = 1e-6


def test_a_constant_rate() -> None:
    link = constant(8e6)
    assert link.bytes_by(2.0) == 2e6
    assert link.time_of(3e6) == 3.0
    assert link.time_of(0) == 0.0


def test_steps_with_an_outage_between_them() -> None:
    link = Steps((0.0, 1.0, 3.0), (8e6, 0.0, 4e6))
    assert [link.bytes_by(t) for t in (0.5, 1.0, 2.0, 3.0, 4.0)] == [5e5, 1e6, 1e6, 1e6, 1.5e6]
    assert link.time_of(1e6) == 1.0
    assert link.time_of(1e6 + 5e5) == 4.0


def test_a_last_step_of_nothing_carries_no_further_byte() -> None:
    link = Steps((0.0, 1.0), (8e6, 0.0))
    assert link.time_of(1e6) == 1.0
    assert link.time_of(1e6 + 1) == inf


def test_opportunities_carry_a_packet_each() -> None:
    link = Opportunities((0.001, 0.002, 0.002, 0.005))
    assert [link.bytes_by(t) for t in (0.0, 0.001, 0.0021, 1.0)] == [0, 1500, 4500, 6000]
    assert [link.time_of(n) for n in (1, 1500, 1501, 4500, 4501)] == [
        0.001,
        0.001,
        0.002,
        0.002,
        0.005,
    ]
    assert link.time_of(6001) == inf


def test_what_is_looped_begins_again_at_its_end() -> None:
    link = Looped(Opportunities((0.001, 0.004)), 0.004)
    assert link.time_of(3000) == 0.004
    assert link.time_of(3001) == pytest.approx(0.005)
    assert link.time_of(300_000) == pytest.approx(0.4)
    assert link.bytes_by(0.0125) == 3 * 3000


def test_a_loop_that_ends_in_an_outage_finishes_before_it() -> None:
    link = Looped(Steps((0.0, 1.0), (8e6, 0.0)), 100.0)
    assert link.time_of(2e6) == pytest.approx(101.0)


def test_a_loop_without_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is carried"):
        Looped(constant(0.0), 1.0)


def test_time_goes_on_in_a_capacity_that_is_not_in_use() -> None:
    trace = Steps((0.0, 2.0), (8e6, 16e6))
    link = Switched((0.0, 1.0, 3.0), (trace, constant(0.0), trace))
    assert link.bytes_by(3.0) == 1e6
    assert link.bytes_by(4.0) == 3e6
    assert link.time_of(1e6) == 1.0
    assert link.time_of(2e6) == 3.5


def test_switching_to_nothing_is_the_end() -> None:
    link = Switched((0.0, 1.0), (constant(8e6), constant(0.0)))
    assert link.time_of(1_000_001) == inf


rates = st.lists(st.sampled_from((0.0, 1e5, 3e6, 7e7)), min_size=1, max_size=6)


@st.composite
def steps(draw: st.DrawFn) -> Steps:
    chosen = draw(rates)
    gaps = draw(st.lists(st.floats(0.001, 2.0), min_size=len(chosen), max_size=len(chosen)))
    starts = [0.0]
    for gap in gaps[:-1]:
        starts.append(starts[-1] + gap)
    return Steps(starts, chosen)


@st.composite
def opportunities(draw: st.DrawFn) -> Opportunities:
    times_ms = draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=50))
    return Opportunities([t / 1000 for t in sorted(times_ms)])


@st.composite
def looped(draw: st.DrawFn) -> Looped:
    once = draw(steps() | opportunities())
    return Looped(once if once.bytes_by(3.0) > 0 else constant(1e6), 3.0)


@st.composite
def switched(draw: st.DrawFn) -> Switched:
    parts = draw(st.lists(steps() | opportunities() | looped(), min_size=1, max_size=4))
    return Switched([1.5 * i for i in range(len(parts))], parts)


capacities = steps() | opportunities() | looped() | switched()


@given(capacities, st.lists(st.floats(0.0, DURATION_S), min_size=2, max_size=20))
def test_nothing_is_ever_taken_back(link: Capacity, times_s: list[float]) -> None:
    carried = [link.bytes_by(t) for t in sorted(times_s)]
    assert all(b >= a - 1e-6 for a, b in pairwise(carried))


@given(capacities, st.floats(0.0, DURATION_S), st.integers(1, 100_000))
def test_time_and_bytes_are_inverse(link: Capacity, now_s: float, nbytes: int) -> None:
    position = link.bytes_by(now_s) + nbytes
    time_s = link.time_of(position)
    assert time_s > now_s - ROUNDING_S
    if time_s < inf:
        assert link.bytes_by(time_s + ROUNDING_S) >= position - 1e-3
        assert link.bytes_by(time_s - ROUNDING_S) <= position + 1e-3
