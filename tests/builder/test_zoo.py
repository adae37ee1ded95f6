"""Bundles of real networks without data: every exact path proven, for all kinds of models."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.verification import Report, verify_bundle
from splitnet.console import Silent
from splitnet.errors import ConfigError
from splitnet.runtime.directory import open_bundle

HERE = Path(__file__).parent

IMAGE = "float32:1x3x224x224"

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)


def prove(model: str, inputs: tuple[str, ...], out: Path, boundaries: int = 12) -> Report:
    """Build a bundle from random samples and verify it again."""
    config = BuildConfig(model, "random:2", out / "bundle", input=inputs, max_boundaries=boundaries)
    build(config, Silent())
    report = verify_bundle(config.out, None, Silent())
    assert report.ok, report.failure()
    return report


@pytest.mark.parametrize(
    ("name", "inputs", "tensors"),
    [
        ("tokens", "int64:1xT=8", 1),
        ("masked", "float32:1x3x16x16,int64:1x8", 2),
    ],
)
def test_small_networks_of_every_form(name: str, inputs: str, tensors: int, tmp_path: Path) -> None:
    report = prove(f"{HERE / 'networks.py'}:{name}", tuple(inputs.split(",")), tmp_path)
    assert report.worst.error < 1e-5
    bundle = open_bundle(tmp_path / "bundle")
    interior = bundle.contract.boundaries[1:-1]
    assert interior and max(len(boundary.tensors) for boundary in interior) >= tensors
    assert bundle.advice.exits == ()


@pytest.mark.data
def test_yolox_nano(tmp_path: Path) -> None:
    folder = os.environ.get("SPLITNET_DATA")
    if not folder:
        pytest.skip("SPLITNET_DATA does not name the folder with the pretrained weights")
    file = Path(folder) / "weights" / "detector" / "yolox_nano_coco_416.onnx"
    prove(str(file), (), tmp_path, boundaries=3)


@needs_transformers
@pytest.mark.filterwarnings("ignore")  # those of the library
@pytest.mark.parametrize(
    ("name", "inputs", "boundaries"),
    [
        pytest.param("llama", "int64:1xT=8", 2, id="llama-sample"),
        pytest.param("llama", "int64:1xT=8", 12, id="llama", marks=pytest.mark.slow),
        pytest.param(
            "masked_llama", "int64:1xT=8,int64:1xT=8", 12, id="mask", marks=pytest.mark.slow
        ),
        pytest.param("vit", IMAGE, 12, id="vit", marks=pytest.mark.slow),
        pytest.param("resnet50", IMAGE, 12, id="resnet50", marks=pytest.mark.slow),
    ],
)
def test_networks_of_transformers(name: str, inputs: str, boundaries: int, tmp_path: Path) -> None:
    prove(f"{HERE / 'zoo.py'}:{name}", tuple(inputs.split(",")), tmp_path, boundaries)


@pytest.mark.parametrize("data", ["random:0", "random:many"])
def test_random_data_that_is_not_understood(data: str, tmp_path: Path) -> None:
    config = BuildConfig(
        f"{HERE / 'networks.py'}:stages", data, tmp_path / "b", input=("float32:1x3x16x16",)
    )
    with pytest.raises(ConfigError, match="give the number of samples"):
        build(config, Silent())
