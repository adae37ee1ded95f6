"""Reading of graphs: constants, sizes, module paths, work, and independence of names and order."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from splitnet.builder.cuts import find_cuts
from splitnet.builder.graph import Graph
from splitnet.builder.graph_reader import read_graph
from splitnet.builder.operators import classify, count_flops
from splitnet.builder.torch_export import export_torch
from splitnet.errors import ModelError

OLD_FLATTEN = """
<ir_version: 8, opset_import: ["" : 13]>
flatten (float[N,2,3,4] x) => (float[N,5] y)
<int64 zero = {0}, int64[1] axis = {0}, int64[1] rest = {-1}>
{
  shape = Shape (x)
  count = Gather (shape, zero)
  relu = Relu (x)
  one = Constant <value = float {1.0}> ()
  more = Add (relu, one)
  row = Unsqueeze (count, axis)
  target = Concat <axis = 0> (row, rest)
  flat = Reshape (more, target)
  unused = Neg (flat)
  y = MatMul (flat, w)
}
"""


def parse(text: str) -> onnx.ModelProto:
    """Return the model that `text` describes, with a weight ``w`` of (24, 5) random numbers."""
    model = onnx.parser.parse_model(text)
    values = np.random.default_rng(0).standard_normal((24, 5)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "w"))
    return model


def read(model: onnx.ModelProto, *shape: int) -> Graph:
    """Read a model on random samples of a shape."""
    sample = np.random.default_rng(1).standard_normal((1, *shape)).astype(np.float32)
    return read_graph(model, [sample])


def test_sizes_are_constants() -> None:
    graph = read(parse(OLD_FLATTEN), 2, 3, 4)
    assert [node.op for node in graph.nodes] == ["Relu", "Add", "Reshape", "MatMul"]
    assert {"count", "row", "target"} <= graph.constants.keys()
    assert "one" in graph.weights
    assert "unused" not in {name for node in graph.nodes for name in node.outputs}
    assert [cut.id for cut in find_cuts(graph)] == ["relu:0", "add:0", "reshape:0"]


def test_ends_of_the_graph() -> None:
    graph = read(parse(OLD_FLATTEN), 2, 3, 4)
    assert (graph.inputs[0].name, graph.inputs[0].dims) == ("x", ("N", 2, 3, 4))
    assert (graph.outputs[0].name, graph.outputs[0].dims) == ("y", ("N", 5))


def scramble(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Return the same model with other tensor names and another topological order of its nodes."""
    chance = random.Random(seed)
    names = [n for node in model.graph.node for n in (*node.input, *node.output) if n]
    unique = list(dict.fromkeys(names))
    numbers = chance.sample(range(len(unique)), len(unique))
    renamed = {name: f"v{number}" for name, number in zip(unique, numbers, strict=True)}
    known = {"", *(t.name for t in (*model.graph.initializer, *model.graph.input))}
    waiting, ordered = list(model.graph.node), []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        node = chance.choice(ready)
        waiting.remove(node)
        ordered.append(node)
        known.update(node.output)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(ordered)
    for proto in result.graph.node:
        proto.name = ""
        for field in (proto.input, proto.output):
            field[:] = [renamed.get(name, name) for name in field]
    for port in (*result.graph.initializer, *result.graph.input, *result.graph.output):
        port.name = renamed.get(port.name, port.name)
    return result


@pytest.fixture(scope="module")
def exported(networks: Any, images: NDArray[Any]) -> Callable[[str], onnx.ModelProto]:
    """Return a function that exports a network of networks.py by the name of its class, once."""
    return cache(lambda name: export_torch(getattr(networks, name)(), [images[:1]]))


@pytest.mark.parametrize("name", ["Residual", "Branches", "Sizes"])
def test_order_and_ids_ignore_names_and_file_order(
    name: str, exported: Callable[[str], onnx.ModelProto], images: NDArray[Any]
) -> None:
    model = exported(name)
    graph = read_graph(model, [images[:1]])
    for seed in range(3):
        other = read_graph(scramble(model, seed), [images[:1]])
        assert [n.signature for n in other.nodes] == [n.signature for n in graph.nodes]
        assert [n.module for n in other.nodes] == [n.module for n in graph.nodes]
        cuts, expected = find_cuts(other), find_cuts(graph)
        assert [(c.id, [s.dims for s in c.specs], c.barred) for c in cuts] == [
            (c.id, [s.dims for s in c.specs], c.barred) for c in expected
        ]


def test_a_node_without_module_path_takes_its_producers(
    exported: Callable[[str], onnx.ModelProto], images: NDArray[Any]
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(exported("Residual"))
    for node in model.graph.node:
        if node.op_type == "Relu":
            del node.metadata_props[:]
    graph = read_graph(model, [images[:1]])
    assert [n.module for n in graph.nodes if n.op == "Relu"] == ["stem.1", ""]


CONTROL_FLOW = """
<ir_version: 8, opset_import: ["" : 13]>
branch (float[N,2] x) => (float[N,2] y)
{
  size = Size (x)
  two = Constant <value = int64 {2}> ()
  large = Greater (size, two)
  y = If (large) <
    then_branch = g1 () => (float[N,2] a) { a = Neg (x) },
    else_branch = g2 () => (float[N,2] b) { b = Abs (x) }
  >
}
"""


def test_control_flow_is_refused() -> None:
    with pytest.raises(ModelError, match=r"the operator If \(y\) contains a graph of its own"):
        read(parse(CONTROL_FLOW), 2)


def test_output_that_ignores_the_input_is_refused() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    zeros (float[N,2] x) => (float[N,2] y)
    { shape = Shape (x)  y = ConstantOfShape (shape) }
    """
    with pytest.raises(ModelError, match="does not depend on its input"):
        read(parse(text), 2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Transpose (x)", r"output is \[2, 'N'\].*its first dimension must be N"),
        ("y = Concat <axis = 0> (x, x)", r"output is \['2N', 2\]"),
        ("some = NonZero (x)  y = Transpose (some)", "output is a shape that depends on the data"),
    ],
)
def test_output_without_rows_for_samples_is_refused(body: str, message: str) -> None:
    text = f"""
    <ir_version: 8, opset_import: ["" : 13]>
    odd (float[N,2] x) => (y) {{ {body} }}
    """
    with pytest.raises(ModelError, match=message):
        read(parse(text), 2)


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "attributes", "flops"),
    [
        ("Conv", [(1, 3, 8, 8), (16, 3, 3, 3)], [(1, 16, 8, 8)], {}, 2 * 16 * 64 * 27),
        ("Conv", [(1, 16, 8, 8), (16, 1, 3, 3)], [(1, 16, 8, 8)], {}, 2 * 16 * 64 * 9),
        ("ConvTranspose", [(1, 8, 4, 4), (8, 4, 2, 2)], [(1, 4, 8, 8)], {}, 2 * 128 * 16),
        ("Gemm", [(1, 64), (10, 64)], [(1, 10)], {"transB": 1}, 2 * 640),
        ("Gemm", [(64, 1), (64, 10)], [(1, 10)], {"transA": 1}, 2 * 640),
        ("MatMul", [(1, 4, 5, 6), (1, 4, 6, 7)], [(1, 4, 5, 7)], {}, 2 * 4 * 5 * 6 * 7),
        ("MaxPool", [(1, 8, 4, 4)], [(1, 8, 2, 2)], {"kernel_shape": [2, 2]}, 32 * 4),
        ("ReduceMean", [(1, 8, 4, 4), (2,)], [(1, 8)], {}, 128),
        ("Relu", [(1, 8)], [(1, 8)], {}, 8),
        ("Reshape", [(1, 8), (2,)], [(1, 2, 4)], {}, 0),
    ],
)
def test_flops(
    op: str,
    inputs: list[tuple[int, ...]],
    outputs: list[tuple[int, ...]],
    attributes: dict[str, Any],
    flops: int,
) -> None:
    assert count_flops(op, inputs, outputs, attributes) == flops


@pytest.mark.parametrize(
    ("op", "weight", "group", "expected"),
    [
        ("Conv", (16, 3, 3, 3), 1, "conv"),
        ("Conv", (16, 1, 3, 3), 16, "depthwise"),
        ("Conv", (16, 1, 3, 3), 1, "conv"),
        ("Conv", (16, 4, 3, 3), 4, "conv"),
        ("ConvTranspose", (16, 1, 2, 2), 16, "depthwise"),
        ("Gemm", (10, 64), 1, "matmul"),
        ("HardSwish", (), 1, "elementwise"),
        ("Softmax", (), 1, "other"),
    ],
)
def test_operator_classes(op: str, weight: tuple[int, ...], group: int, expected: str) -> None:
    assert classify(op, weight, group) == expected
