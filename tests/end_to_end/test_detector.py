"""A real detector through edge and cloud: boxes come back, not its raw output."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from splitnet.builder.build import BuildConfig, build
from splitnet.console import Silent
from splitnet.processes import cloud_process
from splitnet.runtime.preprocess import parse_steps, prepare
from splitnet.runtime.samples import read_image
from tests.end_to_end.conftest import Run

pytestmark = [pytest.mark.data, pytest.mark.slow]

RAW_BYTES = 3549 * 85 * 4
IMAGES = 24


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs as YOLOX wants them: 416x416, blue first."""
    folder = os.environ.get("SPLITNET_DATA")
    if not folder:
        pytest.skip("SPLITNET_DATA does not name the folder with the pretrained weights")
    files = sorted((Path(folder) / "coco_val128" / "images").iterdir())[:IMAGES]
    steps = parse_steps("letterbox=416")
    images = [prepare(read_image(file), steps)[0, ..., ::-1] for file in files]
    place = tmp_path_factory.mktemp("photographs") / "x.npz"
    np.savez(place, x=np.stack(images))
    return place


def test_the_cloud_answers_with_the_same_boxes(
    splitnet: Run, photographs: Path, tmp_path: Path
) -> None:
    model = Path(os.environ["SPLITNET_DATA"]) / "weights/detector/yolox_nano_coco_416.onnx"
    bundle = tmp_path / "bundle"
    config = BuildConfig(
        str(model),
        str(photographs),
        bundle,
        preprocess="scale=1,layout=chw",
        postprocess="nms",
        max_boundaries=2,
    )
    build(config, Silent())
    usual = ("edge", "run", "--bundle", bundle, "--source", f"{photographs}[:8]", "--connect")
    with cloud_process(bundle) as cloud:
        far = splitnet(*usual, cloud.endpoint, "--policy", "fixed:plan=input@0")
        near = splitnet(*usual, cloud.endpoint, "--policy", "fixed:plan=device:end")
    assert far.code == near.code == 0
    assert far.summary["answered_by"] == {"cloud": 8}
    assert near.summary["answered_by"] == {"device": 8}
    for there, here in zip(far.answers, near.answers, strict=True):
        assert there["labels"] == here["labels"]
        assert len(there["details"]) == len(here["details"])
        for a, b in zip(there["details"], here["details"], strict=True):
            assert a == pytest.approx(b, abs=0.01)
        assert there["downlink_bytes"] < 0.001 * RAW_BYTES
    assert sum(len(answer["labels"]) for answer in far.answers) > 8
