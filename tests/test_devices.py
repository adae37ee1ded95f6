"""Device classes and profiles of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from splitnet.bundle import Bundle
from splitnet.devices import (
    DEVICE_CLASSES,
    device_class,
    named_profile,
    own_profile,
    profile_on,
    scaled,
)
from splitnet.errors import ConfigError, UnknownNameError
from splitnet.values import BatchTime, Energy, Profile, StageTime

HERE = Profile(
    "here",
    {"a": StageTime(0.010, 0.015)},
    {"cpu": "mine"},
    reference_s=0.008,
    batches=(BatchTime("a", 4, StageTime(0.030, 0.040)),),
    energy=Energy("monitor", "VDD_IN", 2.0, {"a": 0.05}),
    peak_bytes=10**8,
)


@pytest.mark.parametrize("name", DEVICE_CLASSES)
def test_every_class_says_where_its_figure_is_from(name: str) -> None:
    device = device_class(name)
    assert device.name == name
    assert 0.001 < device.reference_s < 1
    assert device.source.startswith("https://") and "float" in device.measured


def test_the_page_about_devices_lists_every_class() -> None:
    page = (Path(__file__).parents[1] / "docs" / "devices.md").read_text()
    for device in DEVICE_CLASSES.values():
        cells = f"{device.processor} | {1000 * device.reference_s:.1f} | {device.measured}"
        assert f"| `{device.name}` | {cells} |" in page


def test_an_unknown_class_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'jetson-nan'.*did you mean 'jetson-nano'.*pi-4"):
        device_class("jetson-nan")


def test_a_profile_is_carried_over_by_the_reference_network() -> None:
    pi = replace(device_class("raspberry-pi-4"), reference_s=0.080)
    there = profile_on(pi, HERE)
    assert there.device == "raspberry-pi-4"
    assert there.stages["a"].p50_s == pytest.approx(0.100)
    assert there.stages["a"].p95_s == pytest.approx(0.150)
    assert there.reference_s == pytest.approx(0.080)
    back = profile_on(replace(pi, name="here", reference_s=0.008), there)
    assert back.stages["a"].p50_s == pytest.approx(0.010)


def test_a_profile_without_the_reference_network_is_of_no_use() -> None:
    with pytest.raises(ConfigError, match="'here' does not say how long MobileNetV2"):
        profile_on(device_class("raspberry-pi-4"), replace(HERE, reference_s=None))


def test_a_scaled_profile_takes_longer_at_the_same_power_in_the_same_memory() -> None:
    assert HERE.energy is not None
    slow = scaled(replace(HERE, reference_s=None), 2.0, "slow")
    assert (slow.device, slow.reference_s, slow.facts) == ("slow", None, HERE.facts)
    assert slow.batches == (BatchTime("a", 4, StageTime(0.060, 0.080)),)
    twice = {stage: 2 * joules for stage, joules in HERE.energy.stages_j.items()}
    assert slow.energy == replace(HERE.energy, stages_j=twice)
    assert slow.peak_bytes == HERE.peak_bytes


def test_energy_and_memory_of_another_board_are_not_known() -> None:
    there = profile_on(device_class("raspberry-pi-4"), HERE)
    assert (there.energy, there.peak_bytes) == (None, None)


def test_profiles_by_name(sample_bundle: Bundle) -> None:
    profiles = (*sample_bundle.advice.profiles, HERE)
    assert named_profile(profiles) is profiles[0]
    assert named_profile(profiles, "here") is HERE
    with pytest.raises(UnknownNameError, match=r"no profile 'her'.*did you mean 'here'"):
        named_profile(profiles, "her")
    with pytest.raises(ConfigError, match="has no profile"):
        named_profile(())


def test_a_device_s_own_profile_or_the_first() -> None:
    other = replace(HERE, device="there")
    assert own_profile([HERE, other], "there") == other
    assert own_profile([HERE, other], "elsewhere") == HERE
    assert own_profile([], "here") is None
