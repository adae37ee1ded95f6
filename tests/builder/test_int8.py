"""Heads in whole numbers: as files, as paths of a bundle, and where they cannot be made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from torch import nn

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.cuts import find_cuts, resolve_cut
from splitnet.builder.inspection import describe, tables
from splitnet.builder.int8 import Int8Head, quantise_heads
from splitnet.builder.model import SourceModel, source_from_torch
from splitnet.builder.places import NONE
from splitnet.builder.segments import Exported, export_segments
from splitnet.builder.verification import Kind, verify_bundle
from splitnet.bundle import Bundle
from splitnet.console import Silent
from splitnet.errors import ConfigError, ModelError
from splitnet.machines.agent_io import Encode, Encoded, Prepare
from splitnet.machines.worker_io import BatchItem, RunBatch
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.reading import answer_form
from splitnet.runtime.samples import read_npz
from splitnet.runtime.sessions import Graph
from splitnet.runtime.worker import WorkerRuntime
from splitnet.values import encode_stage
from tests.builder.conftest import LoadNetwork

CUTS = ("stage1", "stage2")


def cut(model: SourceModel, folder: Path) -> Exported:
    cuts = find_cuts(model.graph)
    return export_segments(model, [resolve_cut(c, cuts) for c in CUTS], folder, fused=[(0, 2)])


def batches(images: NDArray[Any]) -> Iterator[list[NDArray[Any]]]:
    yield [images]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


@pytest.fixture(scope="module")
def exported(network: LoadNetwork, folder: Path) -> Exported:
    return cut(network("stages"), folder)


@pytest.fixture(scope="module")
def heads(exported: Exported, images: NDArray[Any], folder: Path) -> tuple[Int8Head, ...]:
    return quantise_heads(exported, batches(images), folder)


def test_a_head_ends_near_its_boundary(
    heads: tuple[Int8Head, ...], exported: Exported, images: NDArray[Any], folder: Path
) -> None:
    assert [head.boundary for head in heads] == [1, 2]
    tensors = [images]
    for head, segment in zip(heads, exported.segments, strict=False):
        tensors = Graph(folder / segment.ref.file).run(tensors)
        (found,) = Graph(folder / head.file.ref.file).run([images])
        assert head.file.outputs == segment.outputs
        assert np.abs(found - tensors[0]).max() < 0.1 * np.abs(tensors[0]).max()
        assert np.unique(found).size <= 256
        assert head.file.flops == sum(s.flops for s in exported.segments[: head.boundary])
        assert sum(head.file.costs.values()) == pytest.approx(1)


def test_large_weights_are_shared(images: NDArray[Any], tmp_path: Path) -> None:
    layers = [layer for width in (3, 64, 64) for layer in (nn.Conv2d(width, 64, 3), nn.ReLU())]
    network = nn.Sequential(nn.Sequential(*layers[:4]), *layers[4:])
    model = source_from_torch("wide", network, [images[:1]])
    cuts = find_cuts(model.graph)
    chosen = [cut for cut in cuts if cut.single and "relu" in cut.id]
    exported = export_segments(model, chosen, tmp_path, fused=[(0, len(chosen))])
    first, second = quantise_heads(exported, batches(images), tmp_path)
    assert set(first.file.ref.shards) < set(second.file.ref.shards)
    size = sum((tmp_path / "shards" / s).stat().st_size for s in second.file.ref.shards)
    assert size < 0.3 * 4 * (3 + 64) * 64 * 9


def test_heads_are_whole_numbers(heads: tuple[Int8Head, ...], folder: Path) -> None:
    for head in heads:
        model = onnx.load(folder / head.file.ref.file, load_external_data=False)
        kinds = {w.data_type for w in model.graph.initializer if len(w.dims) == 4}
        assert kinds == {onnx.TensorProto.INT8}
        assert model.ir_version == 9 and all(o.version <= 18 for o in model.opset_import)


def test_the_same_samples_give_the_same_files(
    heads: tuple[Int8Head, ...], network: LoadNetwork, images: NDArray[Any], tmp_path: Path
) -> None:
    again = quantise_heads(cut(network("stages"), tmp_path), batches(images), tmp_path)
    assert [head.file.ref for head in again] == [head.file.ref for head in heads]


def test_what_onnxruntime_refuses_is_one_line(
    exported: Exported, images: NDArray[Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ValueError("no rule for the operator Foo\nand a long story")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", refuse)
    with pytest.raises(ModelError, match=r"--int8-heads: .*no rule for the operator Foo\);") as e:
        quantise_heads(exported, batches(images), folder)
    assert "\n" not in str(e.value)


@pytest.fixture(scope="module")
def config(built: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A bundle with heads in whole numbers."""
    out = tmp_path_factory.mktemp("int8") / "bundle"
    plain = replace(built, out=out, exit_at=NONE, bottleneck_at=NONE, int8_heads=True)
    build(plain, Silent())
    return plain


@pytest.fixture(scope="module")
def bundle(config: BuildConfig) -> Bundle:
    return open_bundle(config.out)


def test_a_head_is_a_learned_path_with_rows_of_its_own(bundle: Bundle) -> None:
    contract = bundle.contract
    assert [path.id for path in contract.paths][-2:] == ["int8-stage1", "int8-stage2"]
    for number, path in enumerate(contract.paths[-2:], start=1):
        (hop,) = path.hops
        assert (path.kind, hop.boundary, hop.entry) == ("learned", 0, number)
        assert hop.tensors == contract.boundaries[number].tensors
        assert hop.encoder is not None and hop.decoder is None
        assert path.levels == contract.path(f"stage{number}").levels
        assert bundle.table.mean_score(path.id, 0) > 0.9
        for level in range(len(path.levels)):
            assert encode_stage(path.id, level) in bundle.advice.profiles[0].stages
            assert bundle.advice.flops[encode_stage(path.id, level)] > 0
    assert {plan.path for plan in bundle.advice.plans} > {"int8-stage1", "int8-stage2"}


def test_what_it_takes_is_stated(bundle: Bundle) -> None:
    sizes = bundle.advice.extra_bytes
    assert 0 < sizes["int8-stage1"] < sizes["int8-stage2"]
    content = describe(bundle)
    shown = {path["path"]: path["extra_bytes"] for path in content["paths"]}
    assert shown["int8-stage1"] == sizes["int8-stage1"] and shown["stage1"] is None
    (rows,) = (rows for title, _, rows in tables(content) if title.startswith("learned paths"))
    assert ("int8-stage2", 0, 2, sizes["int8-stage2"]) in rows


def test_it_verifies_with_the_tolerance_of_whole_numbers(config: BuildConfig) -> None:
    report = verify_bundle(config.out, None, Silent())
    assert report.ok
    kinds = {check.kind for check in report.checks if check.what.startswith("int8-stage1@0 from")}
    assert Kind.INT8 in kinds


def test_device_and_worker_run_it(config: BuildConfig, bundle: Bundle) -> None:
    device, worker = DeviceRuntime(config.out, bundle), WorkerRuntime(config.out, bundle)
    samples = read_npz(Path(config.data))
    assert samples.y is not None
    items = []
    for request in range(8):
        sample = samples.load(request)
        device.start(request, lambda sample=sample: sample)  # type: ignore[misc]
        device.run(request, Prepare())
        encoded = device.run(request, Encode("int8-stage2", 1))
        assert isinstance(encoded, Encoded)
        items.append(BatchItem("int8-stage2", 1, encoded.payload, encoded.dims))
    _, _, results = worker.run(RunBatch(0, 0, 2, len(bundle.contract.segments), tuple(items)))
    answers = [device.decode_reply(r.payload, r.dims).labels for r in results if r.payload]
    assert np.mean(np.array(answers) == samples.y[:8]) > 0.9
    assert answer_form(bundle.contract).labelled


def _no_weights(path: Path) -> str:
    from splitnet.builder.operations import Operations

    ops = Operations()
    ops.emit("GlobalAveragePool", [ops.add("Relu", ["x"])], ["pooled"])
    ops.emit("Flatten", ["pooled"], ["y"])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        ops.nodes,
        "plain",
        [value("x", onnx.TensorProto.FLOAT, ["N", 3, 16, 16])],
        [value("y", onnx.TensorProto.FLOAT, ["N", 3])],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return str(path)


def test_a_network_without_anything_to_quantise(built: BuildConfig, tmp_path: Path) -> None:
    model = _no_weights(tmp_path / "plain.onnx")
    out = tmp_path / "out" / "bundle"
    out.parent.mkdir()
    config = replace(
        built, model=model, out=out, cuts=(), exit_at=NONE, bottleneck_at=NONE, int8_heads=True
    )
    with pytest.raises(ModelError, match="--int8-heads: "):
        build(config, Silent())
    assert not list(out.parent.iterdir())


def test_random_samples_calibrate_nothing(built: BuildConfig) -> None:
    with pytest.raises(ConfigError, match="--int8-heads needs calibration data"):
        replace(built, data="random", int8_heads=True)
