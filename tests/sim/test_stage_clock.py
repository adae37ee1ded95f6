"""Drawn stage times keep the median and the 95th percentile of the profile."""

from __future__ import annotations

from random import Random
from statistics import median, quantiles

import pytest

from splitnet.bundle import Bundle
from splitnet.devices import device_class
from splitnet.sim.stage_clock import StageClock, simulated_profile, slowed
from splitnet.values import Profile, StageTime
from tests.sim.scenarios import agent

PROFILE = Profile("here", {"a": StageTime(0.010, 0.015), "b": StageTime(0.002, 0.002)})


def test_a_slower_device_is_slower_in_everything() -> None:
    slow = slowed(PROFILE, 10.0)
    assert slow.stages["a"].p50_s == pytest.approx(0.100)
    assert slow.stages["a"].p95_s == pytest.approx(0.150)
    assert slow.device == "here x 10"


def test_a_device_class_is_slower_by_what_the_reference_network_says(
    sample_bundle: Bundle,
) -> None:
    profiles = sample_bundle.advice.profiles
    found = simulated_profile(profiles, agent(device="raspberry-pi-4", factor=2.0))
    factor = 2 * device_class("raspberry-pi-4").reference_s / 0.010
    assert found.device == "raspberry-pi-4 x 2"
    assert found.stages["segment:0"].p50_s == pytest.approx(0.004 * factor)
    assert simulated_profile(profiles, agent()).stages == profiles[0].stages


def test_draws_have_the_percentiles_of_the_profile() -> None:
    clock = StageClock(PROFILE, 1.0, Random(1))
    drawn_s = [clock.draw_s(["a"]) for _ in range(20_000)]
    assert median(drawn_s) == pytest.approx(0.010, rel=0.01)
    assert quantiles(drawn_s, n=20)[18] == pytest.approx(0.015, rel=0.02)
    assert min(drawn_s) > 0


def test_without_spread_every_draw_is_the_median() -> None:
    clock = StageClock(PROFILE, 0.0, Random(1))
    assert {clock.draw_s(["a", "b"]) for _ in range(5)} == {0.012}


def test_stages_that_do_not_vary_or_take_no_time() -> None:
    profile = Profile("here", {"fixed": StageTime(0.003, 0.003), "none": StageTime(0.0, 0.001)})
    clock = StageClock(profile, 1.0, Random(1))
    assert clock.draw_s(["fixed"]) == 0.003
    assert clock.draw_s(["none"]) == 0.0
    assert clock.draw_s(["never heard of"]) == 0.0


def test_a_seed_gives_one_sequence() -> None:
    one, other = (StageClock(PROFILE, 1.0, Random(7)) for _ in range(2))
    assert [one.draw_s("a") for _ in range(9)] == [other.draw_s("a") for _ in range(9)]
