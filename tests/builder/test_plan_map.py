"""Which plan wins where, and the picture of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splitnet.builder.cli import main_inspect
from splitnet.builder.plan_map import (
    EQUAL,
    NONE,
    describe_map,
    device_options,
    front,
    known_device,
    plan_map,
    sent_bytes,
)
from splitnet.bundle import Bundle
from splitnet.console import EXIT_OK, EXIT_USAGE
from splitnet.devices import scaled
from splitnet.errors import ConfigError, UnknownNameError
from splitnet.values import Profile

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def slow(sample_bundle: Bundle) -> Profile:
    """A device ten times slower than the cloud."""
    return scaled(sample_bundle.advice.profiles[0], 10, "slow")


def test_all_ways_of_the_bundle_are_there(sample_bundle: Bundle, slow: Profile) -> None:
    keys = {option.key for option in device_options(sample_bundle, slow)}
    assert {plan.key for plan in sample_bundle.advice.plans} < keys
    assert {"device:e1", "device:end", "device:end+exits"} < keys


def test_a_winner_is_in_time_and_nearly_the_best(sample_bundle: Bundle, slow: Profile) -> None:
    found = plan_map(sample_bundle, slow)
    accuracy = np.array([option.accuracy for option in found.options])
    assert found.winners.shape == (len(found.deadlines_s), len(found.bandwidths_bps))
    assert set(found.winners[0]) == {NONE}
    assert (accuracy[found.winners[-1]] >= accuracy.max() - EQUAL).all()


def test_more_time_never_costs_accuracy(sample_bundle: Bundle, slow: Profile) -> None:
    found = plan_map(sample_bundle, slow)
    accuracy = np.array([*(option.accuracy for option in found.options), 0.0])[found.winners]
    assert (np.diff(accuracy, axis=0) >= -EQUAL).all()


def test_the_front_rises(sample_bundle: Bundle, slow: Profile) -> None:
    options = front(device_options(sample_bundle, slow))
    assert [sent_bytes(o) for o in options] == sorted(sent_bytes(o) for o in options)
    assert [o.accuracy for o in options] == sorted({o.accuracy for o in options})


def test_what_the_map_says(sample_bundle: Bundle, slow: Profile) -> None:
    said = json.loads(json.dumps(describe_map(plan_map(sample_bundle, slow))))
    assert set(said["kept"]) < set(said["options"]) and set(said["front"]) <= set(said["kept"])
    assert sum(said["share_of_map"].values()) + said["no_plan_in_time"] == pytest.approx(1)


def test_devices_by_name(sample_bundle: Bundle) -> None:
    assert known_device(sample_bundle, None).device == "sample-device"
    assert known_device(sample_bundle, "sample-device").device == "sample-device"
    assert known_device(sample_bundle, "raspberry-pi-4").device == "raspberry-pi-4"
    with pytest.raises(UnknownNameError, match="did you mean 'raspberry-pi-4'"):
        known_device(sample_bundle, "raspbery-pi-4")


def test_a_bundle_without_profiles_has_no_map(sample_bundle: Bundle) -> None:
    bare = replace(sample_bundle, advice=replace(sample_bundle.advice, profiles=()))
    with pytest.raises(ConfigError, match="no profile"):
        known_device(bare, None)


def test_the_picture(
    sample_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs the extra sim")
    file = tmp_path / "plans.png"
    options = ["--plot", str(file), "--device", "jetson-nano", "--json"]
    assert main_inspect([str(sample_directory), *options]) == EXIT_OK
    assert file.read_bytes().startswith(PNG)
    said = json.loads(capsys.readouterr().out)
    assert said["map"]["device"] == "jetson-nano"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "plans.unknown"], "cannot write the plot"),
        (["--plot", "nowhere/plans.png"], "cannot write the plot"),
        (["--plot", "plans.png", "--device", "toaster"], "unknown device 'toaster'"),
        (["--device", "jetson-nano"], "give --plot FILE too"),
    ],
)
def test_pictures_that_cannot_be_drawn(
    sample_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs the extra sim")
    monkeypatch.chdir(tmp_path)
    assert main_inspect([str(sample_directory), *options]) == EXIT_USAGE
    assert message in capsys.readouterr().err
