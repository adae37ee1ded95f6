"""onnxruntime sessions: refusals, verification, the budget."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.bundle import Bundle, GraphRef
from splitnet.errors import BundleError, ModelError, TensorMismatchError
from splitnet.runtime.sessions import Graph, GraphStore
from tests.onnx_files import Node, Value, write_onnx


@pytest.fixture
def graph(files: Path) -> Graph:
    return Graph(files / "segment-0.onnx")


def x(batch: int = 1, dtype: str = "float32") -> Any:
    return np.ones((batch, 1, 32, 32), dtype)


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch_runs(graph: Graph, batch: int) -> None:
    (y,) = graph.run([x(batch)])
    assert y.shape == (batch, 8, 16, 16)
    assert y.dtype == np.float32


def test_a_fixed_batch_gives_the_same_and_refuses_others(files: Path, graph: Graph) -> None:
    fixed = Graph(files / "segment-0.onnx", batch=1)
    np.testing.assert_array_equal(fixed.run([x()])[0], graph.run([x()])[0])
    with pytest.raises(TensorMismatchError, match=r"shape \(2, 1, 32, 32\), \(1, 1, 32, 32\)"):
        fixed.run([x(2)])


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    a, b = Value("a", ("N", 2)), Value("b", ("N", 2))
    nodes = [Node("Sub", ["a", "b"], ["d"]), Node("Neg", ["d"], ["e"])]
    outputs = [Value("d", ("N", 2)), Value("e", ("N", 2))]
    write_onnx(tmp_path / "g.onnx", nodes, [a, b], outputs)
    one = np.ones((1, 2), np.float32)
    difference, negative = Graph(tmp_path / "g.onnx").run([3 * one, one])
    np.testing.assert_array_equal(difference, 2 * one)
    np.testing.assert_array_equal(negative, -2 * one)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], "takes 1 tensors, 0 were given"),
        ([x(), x()], "takes 1 tensors, 2 were given"),
        ([x(dtype="float64")], "'x' is float64, float32 is needed"),
        ([x(dtype="uint8")], "'x' is uint8, float32 is needed"),
        ([x()[0]], r"shape \(1, 32, 32\)"),
        ([np.ones((1, 3, 32, 32), np.float32)], r"shape \(1, 3, 32, 32\)"),
    ],
)
def test_wrong_tensors_are_named(graph: Graph, arrays: list[Any], message: str) -> None:
    with pytest.raises(TensorMismatchError, match=message):
        graph.run(arrays)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"onnxruntime refuses .*g\.onnx") as caught:
        Graph(tmp_path / "g.onnx")
    assert "\n" not in str(caught.value)


def test_an_unknown_operator(tmp_path: Path) -> None:
    value = Value("a", ("N", 2))
    write_onnx(tmp_path / "g.onnx", [Node("Sneeze", ["a"], ["b"])], [value], [Value("b", ("N", 2))])
    with pytest.raises(ModelError, match="Sneeze"):
        Graph(tmp_path / "g.onnx")


def test_a_failure_inside_the_graph_is_a_model_error(tmp_path: Path) -> None:
    table, index = Value("t", (4, 2)), Value("i", ("N",), "int64")
    write_onnx(
        tmp_path / "g.onnx",
        [Node("Gather", ["t", "i"], ["y"])],
        [table, index],
        [Value("y", ("N", 2))],
    )
    with pytest.raises(ModelError, match=r"g\.onnx failed"):
        Graph(tmp_path / "g.onnx").run([np.zeros((4, 2), np.float32), np.array([9])])


def test_a_store_opens_a_graph_once(files: Path, bundle: Bundle) -> None:
    store = GraphStore(files)
    ref = bundle.contract.segments[0].graph
    assert store.get(ref) is store.get(ref)


def test_a_store_keeps_to_its_budget_and_forgets_the_least_used(
    files: Path, bundle: Bundle
) -> None:
    refs = [segment.graph for segment in bundle.contract.segments]
    sizes = [sum((files / name).stat().st_size for name in ref.files) for ref in refs]
    store = GraphStore(files, budget_bytes=sizes[0] + max(sizes[1:]))
    store.get(refs[0])
    store.get(refs[1])
    store.get(refs[0])
    store.get(refs[2])
    assert store.open_files == (refs[0].file, refs[2].file)


def test_a_graph_above_the_budget_is_opened_alone(files: Path, bundle: Bundle) -> None:
    refs = [segment.graph for segment in bundle.contract.segments]
    store = GraphStore(files, budget_bytes=1)
    for ref in refs:
        store.get(ref)
        assert store.open_files == (ref.file,)


@pytest.mark.parametrize("part", [0, 1])
def test_a_damaged_file_is_never_opened(
    files: Path, bundle: Bundle, tmp_path: Path, part: int
) -> None:
    copy = shutil.copytree(files, tmp_path / "copy")
    ref = bundle.contract.segments[0].graph
    name = list(ref.files)[part]
    (copy / name).write_bytes(b"x" + (copy / name).read_bytes()[1:])
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        GraphStore(copy).get(ref)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing\.onnx is missing"):
        GraphStore(tmp_path).get(GraphRef("nothing.onnx", "0" * 64))


def test_an_input_of_a_dtype_that_no_bundle_has(tmp_path: Path) -> None:
    value = Value("a", ("N", 2), "float64")
    write_onnx(
        tmp_path / "g.onnx", [Node("Neg", ["a"], ["b"])], [value], [Value("b", ("N", 2), "float64")]
    )
    with pytest.raises(ModelError, match=r"g\.onnx: input 'a' is tensor\(double\), .* float32"):
        Graph(tmp_path / "g.onnx")
