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


def test_one_sample_does_not_overturn_the_past() -> None:
    link = LinkEstimator()
    for i in range(20):
        link.on_transfer(10_000, 0.08, float(i))
    before = link.goodput_bps
    link.on_transfer(10_000, 0.008, 20.0)
    assert before is not None and link.goodput_bps is not None
    assert link.goodput_bps < 5 * before


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
