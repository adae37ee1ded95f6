"""Models whose answers are no labels: boxes, and outputs of other shapes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitnet.builder.build import NO_LABELS, BuildConfig, build
from splitnet.builder.golden import GOLDEN_SAMPLES, golden_count
from splitnet.bundle import Boundary, Bundle
from splitnet.console import Silent
from splitnet.errors import ConfigError, ModelError
from splitnet.machines.agent_io import LocalResult, Prepare, RunSegments
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.reading import Reading
from splitnet.values import SKIP, TensorSpec

SIDE = 64
HERE = Path(__file__)


class Detector(nn.Module):
    """The form of YOLOX: three grids of boxes, of three classes."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 8, 8, 8, 8)
        pairs = pairwise(widths)
        self.stages = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in pairs]
        )
        self.heads = nn.ModuleList([nn.Conv2d(8, 8, 1) for _ in range(3)])
        for head in self.heads:
            nn.init.normal_(head.weight, std=4)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return boxes (N, 84, 8) of images (N, 3, 64, 64)."""
        grids = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number > 1:
                raw = self.heads[number - 2](x).flatten(2).transpose(1, 2)
                sides, chances = raw[..., :4].tanh(), raw[..., 4:].sigmoid()
                grids.append(torch.cat([sides, chances], 2))
        return torch.cat(grids, 1)


class Sensitive(Detector):
    """Sees objects in bright images only."""

    def forward(self, x: Tensor) -> Tensor:
        """Return boxes (N, 84, 8); their chances follow the brightness."""
        found = super().forward(x)
        bright = (x.mean((1, 2, 3)) - 0.33).sign().clamp(0, 1)[:, None, None]
        return torch.cat([found[..., :4], 0.9 * bright + 0 * found[..., 4:]], 2)


def sensitive() -> nn.Module:
    """Return a detector that finds an object in about half of the images."""
    torch.manual_seed(0)
    return Sensitive()


def detector() -> nn.Module:
    """Return the detector, always with the same weights."""
    torch.manual_seed(0)
    return Detector()


def mask() -> nn.Module:
    """Return a network that gives a class map (N, 2, 32, 32)."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))


def config_of(model: str, folder: Path, labels: bool = False) -> BuildConfig:
    chance = np.random.default_rng(0)
    x = chance.integers(0, 256, (20, SIDE, SIDE, 3), np.uint8)
    if labels:
        np.savez(folder / "data.npz", x=x, y=np.zeros(20, np.int64))
    else:
        np.savez(folder / "data.npz", x=x)
    return BuildConfig(f"{HERE}:{model}", str(folder / "data.npz"), folder / "out" / "bundle")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A bundle of the detector, with its boxes as answers."""
    folder = tmp_path_factory.mktemp("boxes")
    (folder / "out").mkdir()
    config = replace(config_of("detector", folder), postprocess="nms=max:20", max_boundaries=2)
    build(config, Silent())
    return config


def test_boxes_are_compared_with_those_of_the_whole_model(boxes: BuildConfig) -> None:
    bundle = open_bundle(boxes.out)
    contract = bundle.contract
    assert contract.answers == (TensorSpec("boxes", "float32", ("N", 20, 6)),)
    assert contract.reply == ({"id": "lz4"},)
    assert bundle.advice.roles["truth"] == "answers of the whole model"
    assert not bundle.advice.exits and all(path.kind == "exact" for path in contract.paths)
    for path in contract.paths:
        assert bundle.table.mean_score(path.id, 0) == pytest.approx(1.0)
        assert 0.3 < bundle.table.mean_score(path.id, 1) <= 1.0


def test_the_application_gets_boxes(boxes: BuildConfig) -> None:
    bundle = open_bundle(boxes.out)
    device = DeviceRuntime(boxes.out, bundle)
    with np.load(boxes.data) as arrays:
        sample = arrays["x"][0]
    device.start(1, lambda: sample)
    device.run(1, Prepare())
    result = device.run(1, RunSegments(0, len(bundle.contract.segments)))
    assert isinstance(result, LocalResult) and isinstance(result.answer, Reading)
    found = result.answer
    assert found.details and len(found.details) == len(found.labels)
    for left, top, right, bottom, score, label in found.details:
        assert 0 <= left <= right <= SIDE and 0 <= top <= bottom <= SIDE
        assert 0.3 < score <= 1 and label in (0, 1, 2)


def test_an_output_of_another_shape_needs_no_labels(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    config = config_of("mask", tmp_path)
    assert NO_LABELS in build(config, Silent())["notes"]
    table = open_bundle(config.out).table
    path = open_bundle(config.out).contract.paths[-1].id
    assert table.mean_score(path, 0) == pytest.approx(1.0)
    assert 0.9 < table.mean_score(path, 1) < 1.0


@pytest.mark.parametrize(
    ("model", "postprocess", "exit_at", "error", "message"),
    [
        ("detector", "nms", "auto", ModelError, "has labels, and the model answers with boxes"),
        ("mask", None, "auto", ModelError, "has labels, and the model answers with an output of"),
    ],
)
def test_labels_are_refused(
    tmp_path: Path,
    model: str,
    postprocess: str | None,
    exit_at: str,
    error: type[Exception],
    message: str,
) -> None:
    (tmp_path / "out").mkdir()
    config = replace(
        config_of(model, tmp_path, labels=True), postprocess=postprocess, exit_at=exit_at
    )
    with pytest.raises(error, match=message):
        build(config, Silent())
    assert not list((tmp_path / "out").iterdir())


def test_an_exit_that_is_asked_for_is_refused(boxes: BuildConfig, tmp_path: Path) -> None:
    cut = open_bundle(boxes.out).contract.boundaries[1].cut
    config = replace(boxes, out=tmp_path / "bundle", exit_at=cut)
    with pytest.raises(ConfigError, match="an exit answers with labels, this model does not"):
        build(config, Silent())
    assert not list(tmp_path.iterdir())


def test_large_outputs_have_fewer_golden_samples(sample_bundle: Bundle) -> None:
    contract = sample_bundle.contract
    assert golden_count(contract) == GOLDEN_SAMPLES
    large = Boundary("output", (TensorSpec("y", "float32", ("N", 3549, 85)),))
    wide = replace(contract, boundaries=(*contract.boundaries[:-1], large))
    assert golden_count(wide) == 1


def test_a_prefilter_of_a_detector_lets_objects_through(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    x = chance.integers(0, 256, (240, SIDE, SIDE, 3), np.uint8)
    x[::2] //= 3
    np.savez(tmp_path / "data.npz", x=x)
    config = BuildConfig(
        f"{HERE}:sensitive",
        str(tmp_path / "data.npz"),
        tmp_path / "bundle",
        postprocess="nms=max:20",
        max_boundaries=2,
        interest="any",
        interest_at="input",
        interest_recall=0.8,
        interest_confidence=0.9,
    )
    build(config, Silent())
    bundle = open_bundle(config.out)
    assert bundle.advice.prefilter is not None and bundle.advice.prefilter.interest == ()
    nothing = bundle.table.exits[SKIP].score
    assert 0.2 < nothing.mean() < 0.8
    skipped = bundle.table.exit_passed(SKIP, bundle.advice.prefilter.head.threshold)
    assert skipped[nothing == 1].mean() > 0.5 and skipped[nothing == 0].mean() <= 0.25
    with pytest.raises(ConfigError, match="the label 3 is unknown, the model knows 3 classes"):
        build(replace(config, interest="3", force=True), Silent())
    with pytest.raises(ConfigError, match="this model answers with neither"):
        build(replace(config, postprocess=None, model=f"{HERE}:mask", force=True), Silent())
