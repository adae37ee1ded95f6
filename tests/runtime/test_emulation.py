"""Factors by operator class, profiles of device classes, and waiting once a stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from splitnet.bundle import Bundle, FusedRun, GraphRef
from splitnet.devices import DEVICE_CLASSES, device_class
from splitnet.errors import ConfigError, UnknownNameError
from splitnet.runtime.emulation import (
    CODEC,
    Emulation,
    FactorStretcher,
    ProfileStretcher,
    make_stretcher,
    parse_emulation,
)
from splitnet.values import Profile, StageTime

HALF = {"conv": 0.5, "other": 0.5}


def test_one_factor_counts_for_everything() -> None:
    emulation = parse_emulation("20")
    assert isinstance(emulation, Emulation)
    assert emulation.factor(HALF) == 20
    assert emulation.factor({CODEC: 1.0}) == 20


def test_a_stage_s_factor_is_weighted_by_its_work() -> None:
    emulation = Emulation({"conv": 30, "other": 10})
    assert emulation.factor(HALF) == 20
    assert emulation.factor({"conv": 3, "matmul": 1}) == 25  # matmul is not mentioned: other
    assert emulation.factor({}) == 10


def test_without_other_an_unmentioned_class_keeps_its_speed() -> None:
    assert Emulation({"conv": 30}).factor(HALF) == 15.5
    assert Emulation().factor(HALF) == 1


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_factors_from_a_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"pi{suffix}"
    file.write_text('{"conv": 30, "codec": 5.5}' if suffix == ".json" else "conv = 30\ncodec = 5.5")
    assert parse_emulation(str(file)) == Emulation({"conv": 30, "codec": 5.5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5", "at least 1 is needed"),
        ("nan", "at least 1 is needed"),
        ("-3", "at least 1 is needed"),
        ("nothing.json", "a device class or a file of factors; 'nothing.json' is none"),
    ],
)
def test_what_is_no_emulation(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_emulation(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps({"konv": 3}), "unknown operator class 'konv'.*did you mean 'conv'"),
        (json.dumps({"conv": "fast"}), "factor of conv is 'fast'"),
        (json.dumps({"conv": True}), "factor of conv is True"),
        ("[1]", "one factor for each operator class"),
        ("{", "holds no JSON or TOML"),
    ],
)
def test_a_file_of_nonsense(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "device.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        parse_emulation(str(tmp_path / "device.json"))


def test_the_wait_is_settled_once_for_all_parts_of_a_stage() -> None:
    slept: list[float] = []
    emulation = Emulation({"conv": 11, "codec": 3, "other": 2})
    stretcher = FactorStretcher(emulation, {"segment:0": {"conv": 1.0}}, slept.append)
    stretcher.settle()
    stretcher.add("segment:0", 0.01)
    stretcher.add("encode:c1@1", 0.01, codec=True)
    stretcher.add("segment:7", 0.01)  # without costs: other
    stretcher.settle()
    stretcher.settle()
    assert slept == [pytest.approx(0.1 + 0.02 + 0.01)]


def test_a_hiccup_of_this_machine_is_not_multiplied() -> None:
    slept: list[float] = []
    stretcher = FactorStretcher(Emulation({"other": 11}), {}, slept.append)
    for elapsed_s in (0.01, 0.01, 0.05, 5.0, 0.01):
        stretcher.add("segment:0", elapsed_s)
        stretcher.settle()
    # 110 ms each, less what has passed here; the hiccup of 5 s is longer than that anyway
    assert slept == pytest.approx([0.1, 0.1, 0.06, 0.1])


def test_without_emulation_nobody_sleeps() -> None:
    slept: list[float] = []
    stretcher = FactorStretcher(Emulation(), {}, slept.append)
    for elapsed_s in (5.0, 4.0, 1.0, 0.5):
        stretcher.add("segment:0", elapsed_s)
        stretcher.settle()
    assert slept == []


def test_a_device_class_by_its_name() -> None:
    assert parse_emulation("raspberry-pi-4") is DEVICE_CLASSES["raspberry-pi-4"]


def test_an_unknown_class_is_named_with_the_nearest_and_all_others() -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_emulation("rasberry-pi-4")
    message = str(caught.value)
    assert "--emulate-device" in message and "did you mean 'raspberry-pi-4'" in message
    assert all(name in message for name in DEVICE_CLASSES)


PI = Profile("pi", {"segment:0": StageTime(0.1, 0.2), "encode:c1@1": StageTime(0.05, 0.06)})


def test_a_stage_takes_the_median_of_the_profile_whatever_it_takes_here() -> None:
    slept: list[float] = []
    stretcher = ProfileStretcher(PI, slept.append)
    for elapsed_s in (0.01, 0.03, 0.5):
        stretcher.add("segment:0", elapsed_s)
        stretcher.settle()
    assert slept == pytest.approx([0.09, 0.07])


def test_a_graph_and_its_codec_are_one_stage_of_a_profile() -> None:
    slept: list[float] = []
    stretcher = ProfileStretcher(PI, slept.append)
    stretcher.add("encode:c1@1", 0.01)
    stretcher.add("encode:c1@1", 0.02, codec=True)
    stretcher.settle()
    assert slept == pytest.approx([0.02])


def test_a_stage_that_the_profile_does_not_know_takes_what_it_takes() -> None:
    slept: list[float] = []
    stretcher = ProfileStretcher(PI, slept.append)
    stretcher.add("exit:e1", 0.01)
    stretcher.settle()
    assert slept == []


def test_a_machine_that_is_too_slow_says_so_once_it_is_warm() -> None:
    stretcher = ProfileStretcher(PI, lambda wait_s: None)
    for elapsed_s in (3.0, 0.09):  # a cold first run proves nothing
        stretcher.add("segment:0", elapsed_s)
        stretcher.settle()
    assert stretcher.shortfall() is None
    stretcher.add("encode:c1@1", 0.08)
    stretcher.settle()
    assert stretcher.shortfall() == (
        "this machine is too slow to be a pi: the stages of the bundle take 170.0 ms here and "
        "150.0 ms there"
    )


def test_a_class_needs_a_profile_that_knows_the_reference_network(sample_bundle: Bundle) -> None:
    pi = device_class("raspberry-pi-4")
    assert isinstance(make_stretcher(pi, sample_bundle.advice), ProfileStretcher)
    unknown = replace(sample_bundle.advice.profiles[0], reference_s=None)
    with pytest.raises(ConfigError, match=r"nothing is known of raspberry-pi-4: build the bundle"):
        make_stretcher(pi, replace(sample_bundle.advice, profiles=(unknown,)))


def test_factors_say_nothing_of_a_machine_that_is_too_slow(sample_bundle: Bundle) -> None:
    assert make_stretcher(Emulation(), sample_bundle.advice).shortfall() is None


def test_a_fused_run_has_the_factor_of_its_segments(bundle: Bundle) -> None:
    costs = {"segment:0": {"conv": 1.0}, "segment:1": {"matmul": 1.0}}
    fused = (FusedRun(0, 2, GraphRef("fused.onnx", "0" * 64)),)
    flops = {"segment:0": 3, "segment:1": 1}
    advice = replace(bundle.advice, costs=costs, flops=flops, fused=fused)
    slept_s: list[float] = []
    stretcher = make_stretcher(Emulation({"conv": 20, "matmul": 40}), advice, slept_s.append)
    stretcher.add("fused:0-2", 0.001)
    stretcher.settle()
    assert sum(slept_s) == pytest.approx(0.024)
