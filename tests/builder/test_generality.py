"""Models of any form: several inputs and outputs, whole numbers, dynamic sizes, programs, 2 GB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from splitnet.builder.cuts import Cut, find_cuts
from splitnet.builder.model import SourceModel, load_model, source_from_torch
from splitnet.builder.segments import Exported, export_segments
from splitnet.builder.weights import weight_array
from splitnet.errors import ModelError
from splitnet.runtime.sessions import Graph

Array: TypeAlias = NDArray[Any]

TOLERANCE = 1e-4


def assert_same(found: Sequence[Array], expected: Sequence[Array]) -> None:
    """Check outputs by the rule of ``splitnet verify``."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.abs(a.astype(float) - b).max() <= TOLERANCE * max(np.abs(b).max(), 1e-9)


def run_chain(exported: Exported, folder: Path, inputs: Sequence[Array]) -> list[list[Array]]:
    """Return the tensors of every boundary."""
    found = [list(inputs)]
    for segment in exported.segments:
        onnx.checker.check_model(str(folder / segment.ref.file))
        found.append(Graph(folder / segment.ref.file).run(found[-1]))
    return found


def chain_of(cuts: Sequence[Cut]) -> list[Cut]:
    """Return as many cuts as follow on each other, those of several tensors first."""
    chosen: list[Cut] = []
    for cut in sorted((c for c in cuts if not c.barred), key=lambda c: -len(c.tensors)):
        if all(cut.before | other.before in (cut.before, other.before) for other in chosen):
            if all(cut.before != other.before for other in chosen):
                chosen.append(cut)
    return sorted(chosen, key=lambda c: c.before.bit_count())


def assert_cut_everywhere(
    model: SourceModel, inputs: Sequence[Array], folder: Path
) -> list[list[Array]]:
    """Cut a model at many places at once, compare with the original, return the boundaries."""
    exported = export_segments(model, chain_of(find_cuts(model.graph)), folder, fused=[(0, 2)])
    expected = model.reference(inputs)
    found = run_chain(exported, folder, inputs)
    assert_same(found[-1], expected)
    assert_same(Graph(folder / exported.whole.ref.file).run(inputs), expected)
    assert_same(Graph(folder / exported.fused[0, 2].ref.file).run(inputs), found[2])
    for boundary, arrays in zip(exported.boundaries, found, strict=True):
        assert [a.dtype.name for a in arrays] == [t.dtype for t in boundary.tensors]
    return found


@pytest.fixture
def marked() -> list[Array]:
    """Inputs of `Masked` for three samples."""
    chance = np.random.default_rng(3)
    image = chance.standard_normal((3, 3, 16, 16)).astype(np.float32)
    return [image, chance.integers(0, 5, (3, 8))]


def first(inputs: Sequence[Array]) -> list[Array]:
    """Return the first sample."""
    return [array[:1] for array in inputs]


def test_several_inputs_and_outputs_and_a_bool_tensor(
    networks: Any, marked: list[Array], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = source_from_torch("masked", networks.Masked(), first(marked))
    assert [spec.dims for spec in model.graph.inputs] == [("N", 3, 16, 16), ("N", 8)]
    assert [spec.dims for spec in model.graph.outputs] == [("N", 5), ("N", 8)]
    assert not any(cut.single for cut in find_cuts(model.graph))
    found = assert_cut_everywhere(model, marked, tmp_path)
    crossing = {array.dtype.name for arrays in found[1:-1] for array in arrays}
    assert crossing == {"float32", "bool"}


@pytest.mark.parametrize("length", [8, 5])
def test_whole_numbers_and_a_dynamic_length(networks: Any, tmp_path: Path, length: int) -> None:
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    example = chance.integers(0, 11, (1, 8))
    model = source_from_torch("tokens", networks.Tokens(), [example], [{1: "T"}])
    assert model.graph.inputs[0].dims == ("N", "T")
    assert model.graph.outputs[0].dims == ("N", "T", 11)
    assert_cut_everywhere(model, [chance.integers(0, 11, (2, length))], tmp_path)


def test_strided_sizes_have_names_of_their_own(networks: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    example = chance.standard_normal((1, 3, 32, 32)).astype(np.float32)
    model = source_from_torch("any", networks.AnySize(), [example], [{2: "H", 3: "W"}])
    cuts = [cut for cut in find_cuts(model.graph) if cut.single and not cut.barred]
    (spec,) = cuts[0].specs
    assert spec.dims[:2] == ("N", 8) and spec.dims[2] != spec.dims[3]
    assert all(isinstance(size, str) for size in spec.dims[2:])
    other = chance.standard_normal((2, 3, 40, 56)).astype(np.float32)
    assert_cut_everywhere(model, [other], tmp_path)


def test_a_size_that_no_crossing_tensor_shows(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    sums (float[N,T] x) => (float[N,1] y)
    <int64[1] axis = {1}, int64[1] place = {1}>
    {
      shape = Shape (x)
      count = Gather (shape, place)
      times = Cast <to = 1> (count)
      squares = Softmax (x)
      total = ReduceSum (squares, axis)
      y = Div (total, times)
    }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "mean.onnx")
    model = load_model(str(tmp_path / "mean.onnx"), [np.ones((1, 6), np.float32)])
    bars = {cut.id: cut.barred for cut in find_cuts(model.graph)}
    assert bars == {
        "softmax:0": "",
        "reducesum:0": "the size T is needed behind it, and no tensor has it as a dimension",
    }


def test_a_declared_dimension_that_is_fixed_in_truth(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    fixed (float[N,T] x) => (float[N,4] y)
    { same = Softmax (x)  y = MatMul (same, w) }
    """
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((6, 4), np.float32), "w"))
    onnx.save(proto, tmp_path / "fixed.onnx")
    model = load_model(str(tmp_path / "fixed.onnx"), [np.ones((1, 6), np.float32)])
    assert model.graph.inputs[0].dims == ("N", 6)


@pytest.mark.parametrize("dynamic", [True, False])
def test_exported_program(
    networks: Any, images: Array, tmp_path: Path, dynamic: bool, network: Callable[..., SourceModel]
) -> None:
    sample = torch.from_numpy(images[: 2 if dynamic else 1])
    shapes = ({0: torch.export.Dim("B")},) if dynamic else None
    program = torch.export.export(networks.residual().eval(), (sample,), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "net.pt2")
    model = load_model(str(tmp_path / "net.pt2"), [images[:1]])
    expected = [cut.id for cut in find_cuts(network("residual").graph)]
    assert [cut.id for cut in find_cuts(model.graph)] == expected
    assert_cut_everywhere(model, [images], tmp_path)


def test_a_damaged_program(images: Array, tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match=r"net.pt2 is truncated or not a program that torch"):
        load_model(str(tmp_path / "net.pt2"), [images[:1]])


def test_old_operator_set(tmp_path: Path) -> None:
    text = """
    <ir_version: 4, opset_import: ["" : 6]>
    old (float[1,4] x) => (float[1,4] y)
    { rest = Dropout <is_test = 1> (x)  y = Relu (rest) }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "old.onnx")
    sample = np.array([[-3, 1, 1, 1]], np.float32)
    model = load_model(str(tmp_path / "old.onnx"), [sample])
    assert model.graph.opsets[""] == 18
    assert_cut_everywhere_simply(model, sample, tmp_path)


def assert_cut_everywhere_simply(model: SourceModel, sample: Array, folder: Path) -> None:
    """Export a model as one segment and compare."""
    exported = export_segments(model, [], folder)
    assert_same(run_chain(exported, folder, [sample])[-1], model.reference([sample]))


def _outside(path: Path, weight: onnx.TensorProto, nbytes: int) -> None:
    """Say that the content of `weight` is a file of zeros beside the model."""
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": path.name, "offset": 0, "length": nbytes}.items():
        weight.external_data.add(key=key, value=str(value))
    with path.open("wb") as file:
        file.truncate(nbytes)


def _lookup(folder: Path, rows: int, width: int) -> Path:
    """Write a model that looks up rows of a table outside of its file."""
    text = f"""
    <ir_version: 8, opset_import: ["" : 13]>
    lookup (int64[N,3] x) => (float[N,3,{width}] y)
    {{ rows = Gather (table, x)  y = Softmax (rows) }}
    """
    proto = onnx.parser.parse_model(text)
    table = onnx.TensorProto(name="table", data_type=onnx.TensorProto.FLOAT, dims=[rows, width])
    _outside(folder / "table.bin", table, 4 * rows * width)
    proto.graph.initializer.append(table)
    (folder / "lookup.onnx").write_bytes(proto.SerializeToString())
    return folder / "lookup.onnx"


def test_weights_outside_the_file(tmp_path: Path) -> None:
    path = _lookup(tmp_path, 64, 32)
    ids = np.array([[1, 2, 63], [0, 0, 1]])
    model = load_model(str(path), [ids[:1]])
    assert isinstance(weight_array(model.graph.weights["table"]), np.memmap)
    assert_cut_everywhere(model, [ids], tmp_path / "out")
    (tmp_path / "table.bin").unlink()
    with pytest.raises(ModelError, match="copy the model's data files together with it"):
        weight_array(model.graph.weights["table"])
    with pytest.raises(ModelError, match="truncated or not a valid ONNX model"):
        load_model(str(path), [ids[:1]])


@pytest.mark.slow
def test_a_model_above_two_gigabytes(tmp_path: Path) -> None:
    path = _lookup(tmp_path, 540_000, 1024)
    ids = np.array([[1, 2, 539_999]])
    model = load_model(str(path), [ids])
    assert_cut_everywhere(model, [ids], tmp_path / "out")
    assert max(p.stat().st_size for p in (tmp_path / "out" / "shards").iterdir()) > 2**31
