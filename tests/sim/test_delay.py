"""Delay, jitter and outages."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.sim.delay import Delay


def test_without_jitter_everything_arrives_after_the_delay() -> None:
    assert Delay((0.0,), (0.02,)).arrival_s(1.0) == 1.02


def test_a_shorter_delay_does_not_let_later_bytes_overtake() -> None:
    delay = Delay((0.0, 10.0), (0.5, 0.1))
    assert delay.arrival_s(9.99) == 10.49
    assert delay.arrival_s(10.0) == 10.5
    assert delay.arrival_s(10.4) == 10.5
    assert delay.arrival_s(10.5) == 10.6
    assert (delay.at(9.9), delay.at(10.0)) == (0.5, 0.1)


def test_what_would_arrive_in_an_outage_arrives_at_its_end() -> None:
    delay = Delay((0.0,), (0.1,), outages_s=((5.0, 8.0), (9.0, inf)))
    assert [delay.arrival_s(t) for t in (4.8, 4.95, 7.0, 8.0)] == [
        pytest.approx(4.9),
        8.0,
        8.0,
        8.1,
    ]
    assert delay.arrival_s(8.95) == inf
    assert delay.arrival_s(inf) == inf


def test_quiet_periods_know_neither_outage_nor_change() -> None:
    delay = Delay((0.0, 10.0), (0.5, 0.1), outages_s=((5.0, 6.0),))
    assert delay.quiet(1.0, 5.0)
    assert not delay.quiet(5.5, 7.0)
    assert not delay.quiet(9.5, 10.0)
    assert delay.quiet(10.0, 11.0)


def test_jitter_is_spread_evenly_around_the_delay() -> None:
    delay = Delay((0.0,), (0.02,), jitter_s=0.005, seed=1)
    # Far apart, so that nothing waits for what is in front of it.
    offsets = sorted(delay.arrival_s(t) - t - 0.02 for t in (0.1 * i + 0.0099 for i in range(2000)))
    assert -0.005 <= offsets[0] < -0.0049
    assert 0.0049 < offsets[-1] <= 0.005
    assert offsets[1000] == pytest.approx(0.0, abs=0.0005)


def test_jitter_is_decided_by_the_seed_and_the_time_alone() -> None:
    one, same, other = (Delay((0.0,), (0.02,), 0.005, seed) for seed in (1, 1, 2))
    times_s = [0.003 * i for i in range(100)]
    expected = [one.arrival_s(t) for t in times_s]
    assert [same.arrival_s(t) for t in reversed(times_s)] == expected[::-1]
    assert [other.arrival_s(t) for t in times_s] != expected


@given(
    st.lists(st.floats(0.0, 3.0), min_size=2, max_size=40),
    st.integers(0, 1000),
    st.sampled_from((0.0, 0.003, 0.05)),
    st.lists(st.floats(0.05, 0.5), min_size=1, max_size=4),
)
def test_nothing_overtakes(
    departs_s: list[float], seed: int, jitter_s: float, delays_s: list[float]
) -> None:
    starts_s = [0.6 * i for i in range(len(delays_s))]
    delay = Delay(starts_s, delays_s, jitter_s, seed, outages_s=((1.0, 1.2),))
    arrivals_s = [delay.arrival_s(t) for t in sorted(departs_s)]
    assert arrivals_s == sorted(arrivals_s)
    for depart_s, arrival_s in zip(sorted(departs_s), arrivals_s, strict=True):
        assert arrival_s >= depart_s + delay.at(depart_s) - jitter_s - 1e-9
