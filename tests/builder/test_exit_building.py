"""Several exits in one bundle, their promise, and heads that were trained elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.places import NONE
from splitnet.console import Silent
from splitnet.errors import ConfigError, ModelError
from splitnet.runtime.directory import open_bundle
from tests.builder.conftest import easy_images

HEADS = """
import torch
from torch import nn

def heads():
    torch.manual_seed(0)
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(c, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()) for c in (3, 12)
    )

def one():
    return nn.ModuleList([nn.Flatten()])

def module():
    return nn.Flatten()
"""


@pytest.fixture(scope="module")
def promised(built: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A build with two certified exits, on enough calibration samples for their promise."""
    folder = tmp_path_factory.mktemp("promised")
    config = replace(
        built,
        out=folder / "bundle",
        calib=easy_images(folder / "calib.npz", 400, seed=1),
        exit_at="stage2,stage1",
        bottleneck_at=NONE,
        exit_risk=0.02,
        exit_confidence=0.9,
        exit_measure="margin",
    )
    build(config, Silent())
    return config


def test_exits_stand_in_order_with_their_promise(promised: BuildConfig) -> None:
    bundle = open_bundle(promised.out)
    exits = bundle.advice.exits
    assert [(head.id, head.boundary, head.confidence) for head in exits] == [
        ("stage1", 1, "margin"),
        ("stage2", 2, "margin"),
    ]
    assert exits[0].threshold < exits[1].threshold < 1.0  # the first one saves more
    told = bundle.advice.roles["exits"]
    assert (told["rule"], told["risk"], told["confidence"]) == ("learn-then-test", 0.02, 0.9)
    assert told["samples"] == 400 and told["lost"] <= 0.02
    rules = {plan.key: [step.exit for step in plan.exits] for plan in bundle.advice.plans}
    assert rules["stage1@0+exits"] == ["stage1"]
    assert rules["stage2@0+exits"] == ["stage1", "stage2"]


def test_too_few_calibration_samples(built: BuildConfig, tmp_path: Path) -> None:
    few = replace(built, out=tmp_path / "b", exit_risk=0.005, bottleneck_at=NONE)
    with pytest.raises(ConfigError, match=r"30 calibration samples .* 598 are needed"):
        build(few, Silent())


def test_trained_heads_are_taken_as_they_are(built: BuildConfig, tmp_path: Path) -> None:
    (tmp_path / "heads.py").write_text(HEADS)
    config = replace(
        built, out=tmp_path / "b", exit_at="stage2,input", bottleneck_at=NONE, epochs=1
    )
    build(replace(config, exit_heads=f"{tmp_path}/heads.py:heads"), Silent())
    exits = open_bundle(config.out).advice.exits
    assert [(head.id, head.boundary) for head in exits] == [("input", 0), ("stage2", 2)]
    assert (config.out / "exit-stage2.onnx").exists()
    with pytest.raises(ConfigError, match="1 trained heads are given for 2 exits"):
        build(replace(config, exit_heads=f"{tmp_path}/heads.py:one", force=True), Silent())
    with pytest.raises(ModelError, match=r"must return a torch\.nn\.ModuleList"):
        build(replace(config, exit_heads=f"{tmp_path}/heads.py:module", force=True), Silent())
