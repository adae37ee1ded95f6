"""Factors by operator class, and waiting once a stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitnet.errors import ConfigError
from splitnet.runtime.emulation import CODEC, Emulation, Stretcher, parse_emulation

HALF = {"conv": 0.5, "other": 0.5}


def test_one_factor_counts_for_everything() -> None:
    emulation = parse_emulation("20")
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
        ("nothing.json", "a factor or a file of factors; 'nothing.json' is neither"),
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
    stretcher = Stretcher(emulation, {"segment:0": {"conv": 1.0}}, slept.append)
    stretcher.settle()
    stretcher.add("segment:0", 0.01)
    stretcher.add("encode:c1@1", 0.01, codec=True)
    stretcher.add("segment:7", 0.01)  # without costs: other
    stretcher.settle()
    stretcher.settle()
    assert slept == [pytest.approx(0.1 + 0.02 + 0.01)]


def test_a_hiccup_of_this_machine_is_not_multiplied() -> None:
    slept: list[float] = []
    stretcher = Stretcher(Emulation({"other": 11}), {}, slept.append)
    for elapsed_s in (0.01, 0.01, 0.05, 5.0, 0.01):
        stretcher.add("segment:0", elapsed_s)
        stretcher.settle()
    # 110 ms each, less what has passed here; the hiccup of 5 s is longer than that anyway
    assert slept == pytest.approx([0.1, 0.1, 0.06, 0.1])


def test_without_emulation_nobody_sleeps() -> None:
    slept: list[float] = []
    stretcher = Stretcher(Emulation(), {}, slept.append)
    for elapsed_s in (5.0, 4.0, 1.0, 0.5):
        stretcher.add("segment:0", elapsed_s)
        stretcher.settle()
    assert slept == []
