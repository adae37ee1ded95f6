"""The profile of a device: whole, predicted, interrupted, and without torch."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from splitnet.builder import device_profile
from splitnet.builder.advice_file import update_advice
from splitnet.builder.build import BuildConfig
from splitnet.builder.device_profile import ProfileConfig, profile_device
from splitnet.builder.meters import FoundMeter, PowerMeter
from splitnet.builder.profile_cli import main
from splitnet.builder.profiling import DEVICE
from splitnet.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Silent
from splitnet.errors import BundleError, ConfigError, UnknownNameError
from splitnet.runtime.directory import open_bundle
from splitnet.values import PREPARE_STAGE, StageTime

QUICK = StageTime(0.001, 0.002)
BARE = """
import sys
for name in ("torch", "onnx", "onnxscript", "sklearn", "zmq"):
    sys.modules[name] = None
from splitnet.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def bundle(built: BuildConfig, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.out, tmp_path / "bundle"))


class Quick:
    """Runs each job once and counts; at the job number `stop_at` the user interrupts."""

    def __init__(self) -> None:
        self.jobs = 0
        self.stop_at: int | None = None

    def measure(self, run: Callable[[], object]) -> StageTime:
        if self.jobs == self.stop_at:
            raise KeyboardInterrupt
        run()
        self.jobs += 1
        return QUICK


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Quick:
    """Let nothing take time."""
    found = Quick()
    monkeypatch.setattr(device_profile, "measure", found.measure)
    monkeypatch.setattr(device_profile, "reference_timer", lambda threads: None)
    return found


def no_rail() -> FoundMeter:
    return FoundMeter(None, "no rail")


def config(bundle: Path, **changes: Any) -> ProfileConfig:
    return ProfileConfig(**{"bundle": bundle, "device": "board", "batches": (1, 4), **changes})


def test_everything_is_measured_and_stored(bundle: Path, built: BuildConfig) -> None:
    before = (bundle / "contract.json").read_bytes()
    found = profile_device(config(bundle, data=built.data), Silent(), no_rail)
    advice = open_bundle(bundle).advice
    first, profile = advice.profiles
    assert (first.device, profile.device) == (DEVICE, "board")
    assert profile.stages.keys() >= first.stages.keys()
    assert [(b.stage, b.batch) for b in profile.batches] == [(f"segment:{i}", 4) for i in range(3)]
    assert profile.facts["energy"] == found["energy"] == "NOT AVAILABLE (no rail)"
    assert profile.energy is None and (profile.peak_bytes or 0) > 10**7
    assert (profile.reference_s or 0) > 0
    assert advice.work
    assert (bundle / "contract.json").read_bytes() == before
    assert [file.name for file in bundle.parent.iterdir()] == ["bundle"]


def test_without_data_preprocessing_is_left_out(bundle: Path, quick: Quick) -> None:
    profile_device(config(bundle), Silent(), no_rail)
    assert PREPARE_STAGE not in open_bundle(bundle).advice.profiles[1].stages


def test_a_profile_of_the_same_name_is_replaced(bundle: Path, quick: Quick) -> None:
    profile_device(config(bundle), Silent(), no_rail)
    profile_device(config(bundle, threads=2), Silent(), no_rail)
    profiles = open_bundle(bundle).advice.profiles
    assert [profile.device for profile in profiles] == [DEVICE, "board"]
    assert profiles[1].facts["threads"] == "2"


def test_energy_of_each_stage(bundle: Path, quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_profile, "ENERGY_S", 0.0)
    monkeypatch.setattr(device_profile, "IDLE_S", 0.001)
    meter = PowerMeter("file", "VDD_IN", lambda: 5.0)
    profile_device(config(bundle), Silent(), lambda: FoundMeter(meter))
    energy = open_bundle(bundle).advice.profiles[1].energy
    assert energy is not None
    assert (energy.source, energy.rail) == ("file", "VDD_IN")
    assert energy.idle_w == pytest.approx(5.0, rel=0.5)
    assert all(joules > 0 for joules in energy.stages_j.values())


def test_an_interrupted_profile_goes_on(bundle: Path, quick: Quick) -> None:
    quick.stop_at = 5
    with pytest.raises(KeyboardInterrupt):
        profile_device(config(bundle), Silent(), no_rail)
    assert len(open_bundle(bundle).advice.profiles) == 1
    (partial,) = bundle.parent.glob("*.partial")
    quick.stop_at = None
    found = profile_device(config(bundle), Silent(), no_rail)
    assert found["resumed"] == 5
    assert quick.jobs == len(found["stages"]) + len(found["batches"])
    assert not partial.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"settings": {}, "jobs": {"a": 1}}'])
def test_a_damaged_partial_profile_is_measured_again(
    bundle: Path, quick: Quick, content: bytes
) -> None:
    bundle.with_name("bundle.profile-board.partial").write_bytes(content)
    assert profile_device(config(bundle), Silent(), no_rail)["resumed"] == 0


def test_no_disk_space_keeps_the_bundle(
    bundle: Path, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (bundle / "advice.json").read_bytes()

    def full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match="No space left on device"):
        profile_device(config(bundle), Silent(), no_rail)
    assert (bundle / "advice.json").read_bytes() == before
    assert [file.name for file in bundle.parent.iterdir()] == ["bundle"]


def test_few_samples_and_the_rest_predicted(bundle: Path, quick: Quick) -> None:
    found = profile_device(config(bundle, samples=4), Silent(), no_rail)
    first, profile = open_bundle(bundle).advice.profiles
    assert quick.jobs == 4 == len(found["predicted"]["measured"])
    assert profile.stages.keys() == first.stages.keys()
    assert sum(stage["measured"] for stage in found["stages"]) == 4
    assert profile.facts["predicted"].startswith(f"4 of {len(first.stages)} stages measured")
    assert not profile.batches


def test_the_profile_to_predict_from(bundle: Path, quick: Quick) -> None:
    profile_device(config(bundle, samples=4, reference=DEVICE), Silent(), no_rail)
    with pytest.raises(UnknownNameError, match=r"'build machin'.*did you mean 'build machine'"):
        profile_device(config(bundle, samples=4, reference="build machin"), Silent(), no_rail)
    with pytest.raises(ConfigError, match="no profile"):
        update_advice(bundle, lambda advice: replace(advice, profiles=()))
        profile_device(config(bundle, samples=4), Silent(), no_rail)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": ""}, "--device is ''"),
        ({"device": "a\nb"}, "1 to 64 characters"),
        ({"threads": 0}, "--threads is 0"),
        ({"batches": (0,)}, "--batches has 0"),
        ({"samples": 2}, "--samples is 2"),
        ({"reference": "x"}, "give --samples too"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(Path("bundle"), **changes)


def test_on_a_device_without_torch_and_onnx(bundle: Path, built: BuildConfig) -> None:
    command = [sys.executable, "-c", BARE, "profile", str(bundle), "--device", "bare"]
    options = ["--data", built.data, "--batches", "1", "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["reference_ms"] is None
    assert {PREPARE_STAGE, "segment:0"} <= {stage["stage"] for stage in found["stages"]}


def test_the_command_says_how_to_go_on(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(run: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(device_profile, "measure", interrupt)
    assert main([str(bundle), "--device", "board"]) == EXIT_INTERRUPTED
    assert "the same command goes on from there" in capsys.readouterr().err


def test_bad_input_of_the_command(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bundle)]) == EXIT_USAGE
    assert "missing --device" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing"), "--device", "board"]) == EXIT_FAILED
    assert "there is no bundle" in capsys.readouterr().err
    (bundle / "advice.json").write_bytes(b"{")
    assert main([str(bundle), "--device", "board"]) == EXIT_FAILED
    assert "advice.json is not JSON" in capsys.readouterr().err


def test_the_tables_of_the_command(
    bundle: Path, quick: Quick, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bundle), "--device", "board", "--batches", "1,2"]) == 0
    shown = capsys.readouterr().out
    assert "tails by batch size" in shown and "from segment:2 on" in shown
    assert "energy: " in shown and "peak memory: " in shown
