"""``splitnet train`` with the recipe ``exits``, and bundles of what it leaves."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.cli import main_build
from splitnet.builder.places import NONE
from splitnet.builder.train_cli import main
from splitnet.console import Silent
from splitnet.errors import ConfigError, ModelError, TrainingError
from splitnet.runtime.directory import open_bundle
from splitnet.training.branches import Branches, branch_answers
from splitnet.training.checkpoints import read_tensors
from splitnet.training.exit_results import ExitResults
from splitnet.training.results import Folder
from splitnet.training.teacher import Arithmetic
from splitnet.training.views import Data
from tests.learned_files import NETWORKS, write_images, write_recipe

Output = pytest.CaptureFixture[str]

EXITS = """
[exits]
places = ["stage1", "stage2"]
epochs = 12
rate = 3e-2
measure = "margin"
"""

HEADS = """
import torch
from torch import nn

def heads():
    torch.manual_seed(0)
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(c, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()) for c in (8, 12)
    )

def wide():
    return nn.ModuleList([nn.Flatten(), nn.Flatten()])
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "images.npz")


@pytest.fixture(scope="module")
def trained(images: Path) -> Path:
    """Results of two exits on a frozen network."""
    recipe = write_recipe(images.with_name("r.toml"), images, "exits", EXITS, flip=True)
    out = images.parent / "results" / "r"
    assert main([str(recipe), "--out", str(out), "--json"]) == 0
    return out


@pytest.fixture(scope="module")
def joint(images: Path) -> Path:
    """Results of two exits and of the network that learned with them."""
    table = f"{EXITS}network_rate = 1e-3\nweights = [1.0, 0.5, 1.0]\n"
    recipe = write_recipe(images.with_name("j.toml"), images, "exits", table)
    out = images.parent / "results" / "j"
    assert main([str(recipe), "--out", str(out), "--json"]) == 0
    return out


@pytest.fixture
def wanted(images: Path, tmp_path: Path) -> BuildConfig:
    data = write_images(tmp_path / "more.npz", seed=1)
    return BuildConfig(
        f"{NETWORKS}:stages",
        str(data),
        tmp_path / "bundle",
        cuts=("stage1", "stage2"),
        bottleneck_at=NONE,
        epochs=1,
        exit_risk=0.5,
        exit_confidence=0.9,
    )


def _error(output: Output) -> str:
    return output.readouterr().err.strip().splitlines()[-1]


def test_a_training_leaves_exits_and_pictures(trained: Path) -> None:
    results = Folder(trained).read(ExitResults)
    assert [found.place for found in results.exits] == ["stage1", "stage2"]
    assert not results.joint and results.flops > 0
    assert all(0 < found.flops < results.flops for found in results.exits)
    assert results.exits[1].test > 0.9 and results.teacher == (1.0, 1.0)
    lines = (trained / "history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    assert len(history) == 12 and history[-1]["loss"] < history[0]["loss"]
    assert history[0]["scores"].keys() == {"stage1", "stage2", "output"}
    for picture in ("reliability.png", "shares.png"):
        assert (trained / picture).read_bytes()[1:4] == b"PNG"
    assert not (trained / "checkpoint.safetensors").exists()


def test_a_build_takes_the_exits_and_their_places(trained: Path, wanted: BuildConfig) -> None:
    build(replace(wanted, exit_heads=str(trained)), Silent())
    bundle = open_bundle(wanted.out)
    assert [(head.id, head.boundary) for head in bundle.advice.exits] == [
        ("stage1", 1),
        ("stage2", 2),
    ]
    results = Folder(trained).read(ExitResults)
    assert bundle.table.mean_exit_score("stage2") == pytest.approx(results.exits[1].test, abs=0.1)
    with pytest.raises(ConfigError, match="were trained for stage1,stage2; leave --exit-at out"):
        config = replace(wanted, exit_heads=str(trained), exit_at="stage1", force=True)
        build(config, Silent())


def test_a_network_that_learned_along_is_the_model(joint: Path, wanted: BuildConfig) -> None:
    with pytest.raises(ModelError, match=f"learned along: give --model {joint}"):
        build(replace(wanted, exit_heads=str(joint)), Silent())
    build(replace(wanted, exit_heads=str(joint), model=str(joint)), Silent())
    bundle = open_bundle(wanted.out)
    assert bundle.contract.name == "j" and len(bundle.advice.exits) == 2
    results = Folder(joint).read(ExitResults)
    assert results.joint and results.whole[1] > 0.9
    assert bundle.table.mean_score("input", 0) == pytest.approx(results.whole[1], abs=0.1)


def test_what_trained_the_exits_does_not_calibrate_them(
    trained: Path, images: Path, wanted: BuildConfig
) -> None:
    config = replace(wanted, exit_heads=str(trained), calib=str(images), test=f"{wanted.data}[:60]")
    with pytest.raises(ConfigError, match=r"of 200 calibration samples .* have trained the exits"):
        build(replace(config, data=f"{wanted.data}[60:]"), Silent())


def test_results_of_another_kind(
    trained: Path, joint: Path, wanted: BuildConfig, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"recipe 'exits': give it to splitnet build --exit-h"):
        build(replace(wanted, learned=(str(trained),)), Silent())
    with pytest.raises(TrainingError, match="exits of a frozen network"):
        build(replace(wanted, model=str(trained)), Silent())
    with pytest.raises(TrainingError, match="holds no finished training"):
        build(replace(wanted, exit_heads=str(tmp_path)), Silent())


def test_given_heads_and_a_dry_run(images: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "heads.py").write_text(HEADS)
    table = f'{EXITS}heads = "{tmp_path}/heads.py:heads"\n'
    recipe = write_recipe(tmp_path / "r.toml", images, "exits", table)
    arguments = [str(recipe), "--dry-run", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exits"].keys() == {"stage1", "stage2"}
    assert found["total_s"] > 0 and not (tmp_path / "out").exists()
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "work of the heads" in shown and "minutes" in shown
    recipe = write_recipe(tmp_path / "r.toml", images, "exits", table.replace(":heads", ":wide"))
    assert main(arguments) == 1
    assert "the head at stage1 answers with (1, " in _error(capsys)


def test_people_see_the_exits(images: Path, tmp_path: Path, capsys: Output) -> None:
    recipe = write_recipe(
        tmp_path / "r.toml", images, "exits", EXITS.replace("epochs = 12", "epochs = 2")
    )
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "exits on the test samples" in shown.out and "(teacher: 100.00%)" in shown.out
    assert "the network" in shown.out and "exits: epoch 2 of 2 (loss" in shown.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"stage1", "stage2"', '"stage2", "stage1"'), "'stage2' does not stand before 'stage1'"),
        (('"stage1", "stage2"', '"stag1"'), "did you mean 'stage1'"),
        (('"stage1", "stage2"', '"stage1", "stage1"'), "places names stage1 twice"),
        (("places", "place"), "[exits] place: unknown setting"),
        (('"margin"', '"margins"'), "did you mean 'margin'"),
        (("epochs = 12", "weights = [1.0]"), "weights has 1 numbers for 2 exits"),
    ],
)
def test_wrong_settings(
    images: Path, tmp_path: Path, capsys: Output, change: tuple[str, str], message: str
) -> None:
    recipe = write_recipe(tmp_path / "r.toml", images, "exits", EXITS.replace(*change))
    assert main([str(recipe), "--out", str(tmp_path / "out")]) != 0
    assert message in _error(capsys)


def test_exits_have_no_source(images: Path, tmp_path: Path, capsys: Output) -> None:
    recipe = write_recipe(tmp_path / "r.toml", images, "exits", EXITS, source="stage1")
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 2
    assert "exits have none; their places are in [exits]" in _error(capsys)


def test_calibration_data_that_is_training_data(
    images: Path, tmp_path: Path, capsys: Output
) -> None:
    """Neither a training nor a build takes it."""
    copy = tmp_path / "copy.npz"
    copy.write_bytes(images.read_bytes())
    calib = {"calib": str(copy), "test": str(write_images(tmp_path / "test.npz", 60, seed=2))}
    recipe = write_recipe(tmp_path / "r.toml", images, "exits", EXITS, **calib)
    assert main([str(recipe), "--out", str(tmp_path / "out")]) == 2
    told = "200 of 200 calibration samples are training samples too"
    assert told in _error(capsys)
    options = [f"--{key}={value}" for key, value in calib.items()]
    common = ["--model", f"{NETWORKS}:stages", "--data", str(images), "--cuts", "stage1", *options]
    arguments = [
        *common,
        "--exit-at",
        "stage1",
        "--exit-risk",
        "0.01",
        "--out",
        str(tmp_path / "b"),
    ]
    assert main_build(arguments) == 2
    assert told in _error(capsys)
    assert not (tmp_path / "b").exists()


def test_too_few_calibration_samples_say_how_many_are_needed(
    images: Path, tmp_path: Path, capsys: Output
) -> None:
    common = ["--model", f"{NETWORKS}:stages", "--data", str(images), "--cuts", "stage1"]
    common += ["--epochs", "1", "--out", str(tmp_path / "b")]
    assert main_build([*common, "--exit-at", "stage1", "--exit-risk", "0.005"]) == 2
    assert "598 are needed even if they lose nothing" in _error(capsys)
    assert main_build([*common, "--exit-at", "none", "--interest", "1"]) == 2
    told = "calibration samples of interest cannot show a recall of 0.99 at a confidence of 0.95"
    error = _error(capsys)
    assert told in error and "299 are needed even if none of them is missed" in error


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_training_goes_on(
    images: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = images.with_name("r.toml"), tmp_path / "results"
    module = "splitnet.builder.train_exits.branch_answers"
    calls: list[int] = []

    def stop(branches: Branches, data: Data, arithmetic: Arithmetic) -> list[NDArray[Any]]:
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return branch_answers(branches, data, arithmetic)

    with monkeypatch.context() as patch:
        patch.setattr(module, stop)
        assert main([str(recipe), "--out", str(out)]) == 130
    at = read_tensors(out / "checkpoint.safetensors").facts["at"]
    assert at["batch"] == 1, "behind the first step after the interrupt"
    assert main([str(recipe), "--out", str(out), "--resume"]) == 0
    expected, found = Folder(trained).weights(), Folder(out).weights()
    assert expected.keys() == found.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
