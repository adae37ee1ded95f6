"""Segments: their chain equals the whole model, and the same model gives the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from splitnet.builder.cuts import Cut, find_cuts, resolve_cut
from splitnet.builder.model import SourceModel, load_model, source_from_torch
from splitnet.builder.segments import Exported, export_module, export_segments
from splitnet.bundle import GraphRef
from splitnet.errors import PartitionError
from splitnet.runtime.sessions import Graph

LoadNetwork = Callable[[str], SourceModel]

TOLERANCE = 1e-4


def run(folder: Path, ref: GraphRef, batch: NDArray[Any]) -> NDArray[Any]:
    """Return what the file of `ref` makes of a batch."""
    (answer,) = Graph(folder / ref.file).run([batch])
    return answer


def usable(model: SourceModel) -> list[Cut]:
    """Return all single-tensor cuts of a model at which a boundary may be."""
    return [cut for cut in find_cuts(model.graph) if cut.single and not cut.barred]


def assert_equal(answer: NDArray[Any], expected: NDArray[Any]) -> None:
    """Check answers by the rule of ``splitnet verify``."""
    assert np.abs(answer - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert (answer.argmax(-1) == expected.argmax(-1)).all()


def assert_chain_equals_whole(
    model: SourceModel, boundaries: Sequence[Cut], batch: NDArray[Any], out: Path
) -> Exported:
    """Export a model and check its segments, its whole graph and its files."""
    exported = export_segments(model, boundaries, out)
    expected = model.reference([batch])[0]
    assert_equal(run(out, exported.whole.ref, batch), expected)
    values = batch
    for segment in exported.segments:
        onnx.checker.check_model(str(out / segment.ref.file))
        assert values.shape == segment.inputs[0].shape(len(batch))
        values = run(out, segment.ref, values)
    assert values.shape == exported.whole.outputs[0].shape(len(batch))
    assert_equal(values, expected)
    onnx.checker.check_model(str(out / exported.whole.ref.file))
    return exported


@pytest.mark.parametrize("name", ["residual", "branches", "shared", "sizes"])
def test_chain_equals_whole_at_every_cut(
    name: str, network: LoadNetwork, images: NDArray[Any], tmp_path: Path
) -> None:
    model = network(name)
    cuts = usable(model)
    exported = assert_chain_equals_whole(model, cuts, images, tmp_path)
    assert [b.cut for b in exported.boundaries] == ["input", *(c.id for c in cuts), "output"]
    assert sum(segment.flops for segment in exported.segments) == exported.whole.flops
    for file in (*exported.segments, exported.whole):
        assert sum(file.costs.values()) == pytest.approx(1)


def test_files_and_names(network: LoadNetwork, tmp_path: Path) -> None:
    model = network("residual")
    cuts = find_cuts(model.graph)
    chosen = [resolve_cut(name, cuts) for name in ("stem", "down")]
    exported = export_segments(model, chosen, tmp_path)
    assert [s.ref.file for s in exported.segments] == [f"segment-{i}.onnx" for i in range(3)]
    assert [t.name for b in exported.boundaries for t in b.tensors] == [
        f"boundary{i}" for i in range(4)
    ]
    refs = [*(segment.ref for segment in exported.segments), exported.whole.ref]
    shards = {shard for ref in refs for shard in ref.shards}
    assert {path.name for path in (tmp_path / "shards").iterdir()} == shards
    assert set(exported.whole.ref.shards) == shards
    for ref in refs:
        assert hashlib.sha256((tmp_path / ref.file).read_bytes()).hexdigest() == ref.sha256
    for shard in shards:
        assert hashlib.sha256((tmp_path / "shards" / shard).read_bytes()).hexdigest() == shard
    first = onnx.load(tmp_path / "segment-0.onnx", load_external_data=False)
    assert (first.ir_version, first.opset_import[0].version) == (9, 18)
    assert (first.graph.input[0].name, first.graph.output[0].name) == ("boundary0", "boundary1")
    assert not any(node.metadata_props or node.doc_string for node in first.graph.node)


def test_weights_lie_aligned_in_shards_and_small_ones_inline(
    network: LoadNetwork, tmp_path: Path
) -> None:
    exported = export_segments(network("residual"), [], tmp_path)
    (segment,) = exported.segments
    assert len(segment.ref.shards) == 1
    graph = onnx.load(tmp_path / segment.ref.file, load_external_data=False).graph
    inside = [w for w in graph.initializer if not w.external_data]
    outside = [w for w in graph.initializer if w.external_data]
    assert inside
    assert outside
    assert all(len(w.raw_data) < 1024 for w in inside)
    for weight in outside:
        place = {entry.key: entry.value for entry in weight.external_data}
        assert place["location"] == f"shards/{segment.ref.shards[0]}"
        assert int(place["offset"]) % 64 == 0
        assert int(place["length"]) >= 1024


def test_a_shared_weight_is_in_the_shard_of_each_segment(
    network: LoadNetwork, tmp_path: Path
) -> None:
    model = network("shared")
    assert model.module is not None
    weight = model.module.get_parameter("again.weight").detach().numpy().tobytes()
    exported = export_segments(model, usable(model), tmp_path)
    holding = [
        segment.ref.file
        for segment in exported.segments
        if any(weight in (tmp_path / "shards" / s).read_bytes() for s in segment.ref.shards)
    ]
    assert len(holding) == 3
    together = export_segments(model, [], tmp_path / "one").segments[0]
    (shard,) = together.ref.shards
    assert (tmp_path / "one" / "shards" / shard).read_bytes().count(weight) == 1


def test_the_same_model_gives_the_same_bytes(
    network: LoadNetwork, networks: Any, images: NDArray[Any], tmp_path: Path
) -> None:
    again = source_from_torch("again", networks.residual(), [images[1:2]])
    first, second = (
        export_segments(model, usable(model), tmp_path / model.name)
        for model in (network("residual"), again)
    )
    assert first == second


def test_cuts_out_of_order_or_of_another_model(network: LoadNetwork, tmp_path: Path) -> None:
    model = network("residual")
    cuts = usable(model)
    for wrong in (cuts[::-1], [cuts[0], cuts[0]], usable(network("sizes"))):
        with pytest.raises(PartitionError, match="not in the order of this model's computation"):
            export_segments(model, wrong, tmp_path)


def test_segments_of_an_onnx_file(tmp_path: Path) -> None:
    text = """
    <ir_version: 7, opset_import: ["ai.onnx" : 12]>
    flatten (float[1,2,4,4] x) => (float[1,5] y)
    <int64 zero = {0}, int64[1] rest = {-1}, int64[1] axes = {0}>
    {
      shape = Shape (x)
      count = Gather (shape, zero)
      relu = Relu (x)
      small = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (relu)
      row = Unsqueeze <axes = [0]> (count)
      target = Concat <axis = 0> (row, rest)
      flat = Reshape (small, target)
      long = MatMul (flat, w)
      y = Softmax (long)
    }
    """
    chance = np.random.default_rng(0)
    model = onnx.parser.parse_model(text)
    weight = chance.standard_normal((8, 5)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, tmp_path / "flatten.onnx")
    batch = chance.standard_normal((3, 2, 4, 4)).astype(np.float32)
    source = load_model(str(tmp_path / "flatten.onnx"), [batch[:1]])
    cuts = usable(source)
    assert [cut.id for cut in cuts] == ["relu:0", "maxpool:0", "reshape:0", "matmul:0"]
    assert_chain_equals_whole(source, cuts, batch, tmp_path / "out")


def test_export_of_a_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10)
    )
    batch = np.random.default_rng(0).standard_normal((3, 64, 8, 8)).astype(np.float32)
    file = export_module(layers, batch[:1], "exit-e1", tmp_path)
    assert file.ref.file == "exit-e1.onnx"
    assert len(file.ref.shards) == 1
    assert (file.inputs[0].name, file.inputs[0].dims) == ("input", ("N", 64, 8, 8))
    assert (file.outputs[0].name, file.outputs[0].dims) == ("output", ("N", 10))
    assert file.flops >= 2 * 640
    with torch.inference_mode():
        assert_equal(run(tmp_path, file.ref, batch), layers(torch.from_numpy(batch)).numpy())


@pytest.mark.data
def test_resnet20_at_every_cut(data_models: Any, tmp_path: Path) -> None:
    x, _ = data_models.cifar10()
    batch = data_models.cifar_input(x[:100]).numpy()
    model = source_from_torch("resnet20", data_models.cifar_resnet(20), [batch[:1]])
    cuts = usable(model)
    assert len(cuts) == 11
    stages = [resolve_cut(stage, cuts) for stage in ("layer1", "layer2", "layer3")]
    assert [cut.id for cut in stages] == [f"layer{stage}.2:relu:1" for stage in (1, 2, 3)]
    assert [cut.specs[0].dims[1:] for cut in stages] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    exported = assert_chain_equals_whole(model, cuts, batch, tmp_path)
    weights = sum(p.numel() * p.element_size() for p in data_models.cifar_resnet(20).parameters())
    stored = sum(path.stat().st_size for path in (tmp_path / "shards").iterdir())
    assert stored <= 1.1 * weights
    assert exported.whole.flops == pytest.approx(2 * 40.8e6, rel=0.02)  # 40.8 M multiply-adds


@pytest.mark.data
def test_mobilenet_v2_at_every_cut(data_models: Any, tmp_path: Path) -> None:
    paths = [path for path, _ in data_models.imagenet_val()[:3]]
    batch = np.stack([data_models.imagenet_input(path, 224) for path in paths])
    model = source_from_torch("mobilenet_v2", data_models.mobilenet(), [batch[:1]])
    assert sum(cut.single for cut in find_cuts(model.graph)) == 48
    assert len(usable(model)) == 33  # the other 15 lie between a convolution and its activation
    assert_chain_equals_whole(model, usable(model), batch, tmp_path)


@pytest.mark.data
def test_yolox_nano_at_every_cut(data_models: Any, tmp_path: Path) -> None:
    folder = Path(data_models.__file__).parent
    batch = np.random.default_rng(0).uniform(0, 255, (2, 3, 416, 416)).astype(np.float32)
    path = folder / "weights" / "detector" / "yolox_nano_coco_416.onnx"
    model = load_model(str(path), [batch[:1]])
    assert len(usable(model)) == 11
    exported = export_segments(model, usable(model), tmp_path)
    values = batch
    for segment in exported.segments:
        values = run(tmp_path, segment.ref, values)
    expected = model.reference([batch])[0]
    assert np.abs(values - expected).max() <= TOLERANCE * np.abs(expected).max()
