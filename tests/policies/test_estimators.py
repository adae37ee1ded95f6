"""What passive measurements say of link and cloud."""

from __future__ import annotations

import pytest

from splitnet.policies.estimators import CloudEstimator, LinkEstimator


def test_estimates_approach_a_steady_link() -> None:
    link = LinkEstimator()
    for i in range(60):
        link.on_rtt(0.02, float(i))
        link.on_transfer(20_000, 0.02 + 8 * 20_000 / 2e6, float(i))
    assert link.rtt_s == pytest.approx(0.02)
    assert link.goodput_bps == pytest.approx(2e6, rel=0.01)
    assert link.updated_s == 59.0


def test_one_outlier_decides_nothing_and_two_that_agree_do() -> None:
    link = LinkEstimator()
    for i in range(20):
        link.on_transfer(100_000, 8 * 100_000 / 50e6, float(i))
    link.on_transfer(100_000, 8 * 100_000 / 1e6, 20.0)
    assert link.goodput_bps == pytest.approx(50e6)
    assert link.rate_surprised and link.sample_bps == pytest.approx(1e6)
    link.on_transfer(100_000, 8 * 100_000 / 1e6, 21.0)
    assert link.goodput_bps == pytest.approx(1e6)
    link.on_transfer(100_000, 8 * 100_000 / 1e6, 22.0)
    assert not link.rate_surprised
    for now_s in (23.0, 24.0):
        link.on_transfer(100_000, 8 * 100_000 / 50e6, now_s)
    assert link.goodput_bps == pytest.approx(50e6)


def test_a_round_trip_of_seconds_is_forgotten_after_two_good_ones() -> None:
    link = LinkEstimator()
    for rtt_s in (0.02, 0.02, 3.0):
        link.on_rtt(rtt_s, 0.0)
    assert link.rtt_s == 0.02 and link.rtt_surprised
    link.on_rtt(2.9, 1.0)
    assert link.rtt_s == 2.9
    link.on_rtt(0.02, 1.0)
    link.on_rtt(0.02, 1.0)
    assert link.rtt_s == 0.02


def test_a_round_trip_is_no_longer_than_one_that_carried_a_payload() -> None:
    link = LinkEstimator()
    for _ in range(2):
        link.on_rtt(3.0, 0.0)
    for _ in range(2):
        link.on_transfer(1000, 0.03, 1.0)
    assert link.rtt_s == 0.03


def test_a_payload_that_drowns_in_the_round_trip_says_at_least() -> None:
    link = LinkEstimator()
    link.on_rtt(0.04, 0.0)
    link.on_transfer(50_000, 0.04 + 8 * 50_000 / 20e6, 1.0)
    assert link.goodput_bps == pytest.approx(20e6)
    link.on_transfer(500, 0.0401, 2.0)  # within the noise of 4 ms: at least 1 Mbit/s
    assert link.goodput_bps == pytest.approx(20e6)
    assert link.rated_s == 1.0 and not link.rate_surprised
    link.on_transfer(20_000, 0.041, 3.0)  # at least 40 Mbit/s, which is news
    assert link.sample_bps == pytest.approx(40e6) and link.rate_surprised


def test_bytes_that_should_have_arrived_lower_the_estimate() -> None:
    link = LinkEstimator()
    link.on_rtt(0.02, 0.0)
    link.on_transfer(10_000, 0.02 + 8 * 10_000 / 10e6, 0.0)
    assert link.bounded_bps(0, 5.0) == pytest.approx(10e6)
    assert link.bounded_bps(20, 5.0) == pytest.approx(10e6)  # a ping
    assert link.bounded_bps(10_000, 0.03) == pytest.approx(10e6)
    assert link.bounded_bps(10_000, 0.02 + 0.02 + 0.8) == pytest.approx(0.1e6)


def test_queueing_is_what_the_round_trip_has_above_its_smallest() -> None:
    link = LinkEstimator()
    for rtt_s in (0.02, 0.1, 0.1):
        link.on_rtt(rtt_s, 0.0)
    assert link.base_rtt_s == 0.02
    assert link.rtt_s is not None and link.queueing_s == pytest.approx(link.rtt_s - 0.02)


def test_senseless_samples_are_ignored() -> None:
    link = LinkEstimator()
    link.on_transfer(0, 0.1, 1.0)
    link.on_transfer(100, 0.0, 1.0)
    assert link.goodput_bps is None
    link.on_rtt(-0.001, 1.0)
    assert link.rtt_s == 0.0


def test_the_cloud_slows_down_relative_to_its_profile() -> None:
    cloud = CloudEstimator()
    for i in range(40):
        cloud.on_run(0.03, 0.01, float(i))
    assert cloud.slowdown == pytest.approx(3.0, rel=0.01)
    cloud.on_run(0.03, 0.0, 41.0)
    assert cloud.slowdown == pytest.approx(3.0, rel=0.01)
    cloud.on_load(0.5, 42.0)
    assert cloud.wait_s == 0.5
