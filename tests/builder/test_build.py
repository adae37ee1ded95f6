"""The build as a whole: what it writes, what it refuses, what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.builder import build as module
from splitnet.builder.build import BuildConfig, build
from splitnet.builder.data import Dataset
from splitnet.builder.execution import inputs_of
from splitnet.builder.model import load_model
from splitnet.builder.places import NONE
from splitnet.console import Silent
from splitnet.errors import BundleError, ConfigError, ModelError
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.samples import Samples
from splitnet.values import plan_key


def _config(built: BuildConfig, out: Path, **options: Any) -> BuildConfig:
    plain = {"exit_at": NONE, "bottleneck_at": NONE, "cuts": ("stage1",), **options}
    return replace(built, out=out, **plain)


def _left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_bundle_has_every_part(built: BuildConfig) -> None:
    bundle = open_bundle(built.out)
    contract, advice = bundle.contract, bundle.advice
    assert [b.cut for b in contract.boundaries] == [
        "input",
        "stage1.1:relu:0",
        "stage2.1:relu:0",
        "output",
    ]
    assert [path.id for path in contract.paths] == ["input", "stage1", "stage2", "bottleneck"]
    assert [len(path.levels) for path in contract.paths] == [2, 2, 2, 2]
    learned = contract.path("bottleneck").hops[0]
    assert [t.name for t in learned.tensors] == ["bottleneck"]
    assert learned.encoder is not None and learned.encoder.file == "encoder-bottleneck.onnx"
    assert learned.decoder is not None and learned.decoder.file == "decoder-bottleneck.onnx"
    (head,) = advice.exits
    assert head.graph.file == f"exit-{head.id}.onnx"
    stages = advice.profiles[0].stages
    apart = {stage for stage in stages if not stage.startswith("fused:")}
    assert apart == advice.costs.keys() == advice.flops.keys()
    assert all(sum(shares.values()) == pytest.approx(1) for shares in advice.costs.values())
    assert advice.roles["truth"] == "labels" and advice.roles["test"]["samples"] == 30
    fused = {run.graph.file for run in advice.fused}
    assert fused <= {"fused-0-2.onnx"}
    assert sorted(p.name for p in built.out.iterdir() if p.name not in fused) == sorted(
        [
            "advice.json",
            "contract.json",
            "decoder-bottleneck.onnx",
            "encoder-bottleneck.onnx",
            head.graph.file,
            "golden.npz",
            "sample_table.npz",
            "segment-0.onnx",
            "segment-1.onnx",
            "segment-2.onnx",
            "shards",
            "whole.onnx",
        ]
    )


def test_plans_are_all_paths_and_levels_with_exits_on_the_way(built: BuildConfig) -> None:
    bundle = open_bundle(built.out)
    (head,) = bundle.advice.exits
    wanted = set()
    for path in bundle.contract.paths:
        for level in range(2):
            wanted.add(plan_key(path.id, level))
            if head.boundary <= path.hops[0].boundary:
                wanted.add(f"{plan_key(path.id, level)}+exits")
    assert {plan.key for plan in bundle.advice.plans} == wanted
    assert len(bundle.advice.plans) == len(wanted)


def test_learned_parts_work(built: BuildConfig) -> None:
    table = open_bundle(built.out).table
    assert table.mean_score("stage1", 0) > 0.95  # the network tells colours
    assert table.mean_score("stage1", 0) == table.mean_score("stage2", 0)
    assert table.mean_bytes("stage1", 0) == 8 * 16 * 16 * 4
    assert table.mean_bytes("bottleneck", 1) < table.mean_bytes("bottleneck", 0) / 3


def test_the_summary_says_what_was_chosen(built: BuildConfig, tmp_path: Path) -> None:
    config = replace(built, out=tmp_path / "bundle", epochs=1)
    summary = json.loads(json.dumps(build(config, Silent())))
    assert summary["out"] == str(config.out) and summary["seconds"] > 0
    notes = " ".join(summary["notes"])
    assert "split by seed: 90 training, 30 calibration, 30 test" in notes
    assert "exit at stage1, chosen automatically" in notes
    assert "bottleneck at stage" in notes


def test_the_same_seed_gives_the_same_contract(built: BuildConfig, tmp_path: Path) -> None:
    summaries = [build(_config(built, tmp_path / name), Silent()) for name in ("a", "b")]
    assert summaries[0]["contract"] == summaries[1]["contract"]
    assert summaries[0]["exits"] == [] and len(summaries[0]["paths"]) == 2


def test_an_onnx_file_without_labels(built: BuildConfig, tmp_path: Path) -> None:
    with np.load(built.data) as arrays:
        np.savez(tmp_path / "x.npz", x=arrays["x"])
    config = BuildConfig(
        str(built.out / "whole.onnx"),
        str(tmp_path / "x.npz"),
        tmp_path / "bundle",
        bottleneck_at=NONE,
        max_boundaries=2,
        epochs=1,
    )
    summary = build(config, Silent())
    assert [b["cut"] for b in summary["boundaries"]] == ["input", "relu:0", "output"]
    exact = [level for path in summary["paths"] for level in path["levels"] if not level["level"]]
    assert all(level["accuracy"] == 1.0 for level in exact)
    assert summary["roles"]["truth"] == "answers of the whole model"


def test_a_place_that_is_taken(built: BuildConfig, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    with pytest.raises(ConfigError, match="exists; give another --out, or --force"):
        build(_config(built, built.out), Silent())
    with pytest.raises(ConfigError, match="not a bundle, so --force does not"):
        build(_config(built, tmp_path / "letters", force=True), Silent())
    assert (tmp_path / "letters" / "dear.txt").exists()


def test_force_replaces_a_bundle(built: BuildConfig, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    build(_config(built, out), Silent())
    (out / "old").touch()
    build(_config(built, out, force=True), Silent())
    assert not (out / "old").exists() and _left(tmp_path) == ["bundle"]


def _raise(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (OSError(28, "No space left on device"), BundleError, "cannot write.*No space left"),
        (ModelError("no such operator"), ModelError, "no such operator"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_nothing_is_left_of_a_build_that_failed(
    built: BuildConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    expected: type[BaseException],
    message: str,
) -> None:
    monkeypatch.setattr(module, "make_table", _raise(error))
    with pytest.raises(expected, match=message):
        build(_config(built, tmp_path / "bundle"), Silent())
    assert _left(tmp_path) == []


def test_an_old_bundle_survives_a_build_that_failed(
    built: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    build(_config(built, out), Silent())
    before = _left(out)
    monkeypatch.setattr(module, "make_table", _raise(ModelError("no")))
    with pytest.raises(ModelError):
        build(_config(built, out, force=True), Silent())
    assert _left(out) == before and _left(tmp_path) == ["bundle"]


def test_a_bundle_that_is_not_equal_to_the_model_is_not_published(
    built: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(spec: str, example: Any, axes: Any) -> Any:
        model = load_model(spec, example, axes)
        return replace(model, reference=lambda batch: [a + 1 for a in model.reference(batch)])

    monkeypatch.setattr(module, "load_model", wrong)
    with pytest.raises(ModelError, match="does not compute what the model does"):
        build(_config(built, tmp_path / "bundle"), Silent())
    assert _left(tmp_path) == []


def test_samples_that_do_not_suit(built: BuildConfig, tmp_path: Path) -> None:
    config = _config(built, tmp_path / "bundle", preprocess="scale=255,mean=0:0:0,std=1:1:1")
    with pytest.raises(ModelError):  # HWC instead of CHW
        build(config, Silent())
    x = [np.zeros((16, 16, 3), np.uint8)] * 20
    x[13] = np.zeros((16, 15, 3), np.uint8)
    data = Dataset(Samples(x), "camera")
    contract = open_bundle(built.out).contract
    with pytest.raises(ConfigError, match=r"sample 13 of camera: .*change --preprocess"):
        inputs_of(contract, data, range(20))
    pictures = [np.full((3, 16, 16), value, np.float32) for value in (0, np.nan)]
    with pytest.raises(ConfigError, match="sample 1 of camera: the prepared sample holds NaN"):
        inputs_of(replace(contract, preprocess=()), Dataset(Samples(pictures), "camera"), [0, 1])


def test_test_data_of_another_size_is_refused_before_anything_is_learned(
    built: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Learner", _raise(AssertionError("too late")))
    np.savez(tmp_path / "test.npz", x=np.zeros((5, 16, 15, 3), np.uint8), y=np.zeros(5, int))
    config = _config(built, tmp_path / "bundle", test=str(tmp_path / "test.npz"))
    with pytest.raises(ConfigError, match=r"sample 0 of .*test.npz: .* is needed"):
        build(config, Silent())


@pytest.mark.parametrize(
    "options",
    [{"epochs": 0}, {"max_boundaries": 0}, {"train_seconds": 0.0}, {"exit_loss": 2.0}],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--" + next(iter(options)).replace("_", "-")):
        BuildConfig("m", "d", Path("o"), **options)
