"""Fused runs: they compute what their segments do, and stay only where they are faster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder import fusing
from splitnet.builder.build import BuildConfig, build
from splitnet.builder.fusing import fused_heads
from splitnet.builder.places import NONE
from splitnet.builder.verification import verify_bundle
from splitnet.console import Silent
from splitnet.errors import BundleError
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.sessions import GraphStore


def test_heads_end_at_interior_boundaries() -> None:
    assert fused_heads(1) == fused_heads(2) == []
    assert fused_heads(4) == [(0, 2), (0, 3)]


@pytest.fixture
def rebuild(built: BuildConfig, tmp_path: Path) -> Callable[[], Path]:
    """Return a function that builds a bundle of three segments without learned parts."""
    config = replace(built, out=tmp_path / "bundle", exit_at=NONE, bottleneck_at=NONE)

    def run() -> Path:
        build(config, Silent())
        return config.out

    return run


def test_a_run_that_pays_is_kept_and_proven(
    rebuild: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusing, "PAYS", float("inf"))
    directory = rebuild()
    bundle = open_bundle(directory)
    (run,) = bundle.advice.fused
    assert (run.first, run.stop, run.graph.file) == (0, 2, "fused-0-2.onnx")
    shards = {s for segment in bundle.contract.segments[:2] for s in segment.graph.shards}
    assert set(run.graph.shards) == shards
    assert "fused:0-2" in bundle.advice.profiles[0].stages
    image: NDArray[Any] = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    store = GraphStore(directory)
    chained = [image]
    for segment in bundle.contract.segments[:2]:
        chained = store.get(segment.graph).run(chained)
    np.testing.assert_allclose(store.get(run.graph).run([image])[0], chained[0], rtol=1e-5)
    report = verify_bundle(directory, None, Silent())
    assert "segments 0 to 1 in one (golden)" in {check.what for check in report.checks}


def test_a_run_that_does_not_pay_leaves_no_file(
    rebuild: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusing, "PAYS", 0.0)
    directory = rebuild()
    assert open_bundle(directory).advice.fused == ()
    assert not list(directory.glob("fused-*"))


def test_a_damaged_run_is_named(
    rebuild: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusing, "PAYS", float("inf"))
    directory = rebuild()
    (directory / "fused-0-2.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"fused-0-2.onnx is damaged"):
        verify_bundle(directory, None, Silent())


@pytest.mark.parametrize(("first", "stop"), [(0, 1), (-1, 2), (1, 4), (2, 2)])
def test_runs_of_no_segments(built: BuildConfig, first: int, stop: int, tmp_path: Path) -> None:
    for name in ("contract.json", "sample_table.npz", "golden.npz"):
        (tmp_path / name).write_bytes((built.out / name).read_bytes())
    advice = json.loads((built.out / "advice.json").read_text())
    graph = {"file": "fused.onnx", "sha256": "0" * 64, "shards": []}
    advice["fused"] = [{"first": first, "stop": stop, "graph": graph}]
    (tmp_path / "advice.json").write_text(json.dumps(advice))
    with pytest.raises(BundleError, match=r"fused\[0\]: leads from"):
        open_bundle(tmp_path)
