"""What graphs have to do, read off their files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from splitnet.builder.build import BuildConfig
from splitnet.builder.static_work import stage_work
from splitnet.errors import BundleError
from splitnet.runtime.directory import open_bundle
from splitnet.values import PREPARE_STAGE, decode_stage, encode_stage, exit_stage, segment_stage


def test_every_stage_of_the_profile_has_its_work(built: BuildConfig) -> None:
    bundle = open_bundle(built.out)
    advice = bundle.advice
    work = stage_work(built.out, bundle.contract, advice.exits, advice.fused)
    assert advice.profiles[0].stages.keys() <= work.keys()
    assert all(item.operators > 0 for item in work.values())


def test_a_convolution_with_its_activation(built: BuildConfig) -> None:
    bundle = open_bundle(built.out)
    work = stage_work(built.out, bundle.contract, bundle.advice.exits)
    found = work[segment_stage(0)]
    image, features = 4 * 3 * 16 * 16, 4 * 8 * 16 * 16
    assert found.operators == 2
    assert found.weight_bytes == 4 * (8 * 3 * 9 + 8)
    assert found.moved_bytes == image + features + 2 * features


def test_codecs_move_what_crosses(built: BuildConfig) -> None:
    bundle = open_bundle(built.out)
    work = stage_work(built.out, bundle.contract, bundle.advice.exits)
    exact, learned = (encode_stage(path, 1) for path in ("stage1", "bottleneck"))
    assert work[exact].moved_bytes == 4 * 8 * 16 * 16 and work[exact].weight_bytes == 0
    assert work[learned].weight_bytes > 0 and work[learned].operators > 1
    assert work[decode_stage("stage1", 1)] == work[exact]
    assert work[PREPARE_STAGE].moved_bytes == 4 * 3 * 16 * 16
    assert work[exit_stage(bundle.advice.exits[0].id)].weight_bytes > 0


def test_a_damaged_graph_is_named(built: BuildConfig, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(built.out, tmp_path / "bundle"))
    (directory / "segment-1.onnx").write_bytes(b"not a graph")
    bundle = open_bundle(directory)
    with pytest.raises(BundleError, match=r"segment-1\.onnx is no ONNX graph"):
        stage_work(directory, bundle.contract, bundle.advice.exits)
