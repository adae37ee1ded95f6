"""ONNX segments as torch functions: equal to the network, and with gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from splitnet.builder.cuts import find_cuts, resolve_cut
from splitnet.builder.model import SourceModel
from splitnet.builder.segments import export_segments
from splitnet.builder.tail import load_tail
from splitnet.errors import ModelError
from splitnet.runtime.sessions import Graph


def _node_file(path: Path, op: str, shape: list[int], *constants: Any, **attributes: Any) -> Path:
    """Write a graph of one operator over float32 `shape` and constants."""
    weights = [
        onnx.numpy_helper.from_array(np.asarray(value), f"c{i}")
        for i, value in enumerate(constants)
    ]
    node = helper.make_node(op, ["x", *(w.name for w in weights)], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        op,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


_KERNEL = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32)
_VECTOR = np.linspace(0.5, 2, 4).astype(np.float32)
_I = np.int64


@pytest.mark.parametrize(
    ("op", "constants", "attributes"),
    [
        ("Conv", (_KERNEL,), {"group": 2, "strides": [2, 1], "pads": [1, 0, 0, 1]}),
        ("Conv", (_KERNEL, _VECTOR), {"group": 2, "dilations": [1, 2]}),
        ("MaxPool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]}),
        ("AveragePool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        (
            "AveragePool",
            (),
            {"kernel_shape": [2, 2], "pads": [1, 0, 1, 0], "count_include_pad": 1},
        ),
        ("GlobalAveragePool", (), {}),
        ("BatchNormalization", (_VECTOR, _VECTOR, _VECTOR, _VECTOR), {"epsilon": 0.1}),
        ("Clip", (np.float32(-0.5), np.float32(0.5)), {}),
        ("LeakyRelu", (), {"alpha": 0.3}),
        ("HardSigmoid", (), {}),
        ("HardSwish", (), {}),
        ("Add", (np.float32(2),), {}),
        ("Sub", (np.float32(2),), {}),
        ("Mul", (np.float32(2),), {}),
        ("Div", (np.float32(2),), {}),
        ("Sigmoid", (), {}),
        ("Tanh", (), {}),
        ("Softmax", (), {"axis": 1}),
        ("ReduceMean", (np.array([2, 3], _I),), {"keepdims": 0}),
        ("Reshape", (np.array([0, -1], _I),), {}),
        ("Flatten", (), {"axis": 2}),
        ("Transpose", (), {"perm": [0, 2, 3, 1]}),
        ("Unsqueeze", (np.array([1, -1], _I),), {}),
        ("Pad", (np.array([0, 1, 0, 2, 0, 1, 3, 0], _I), np.float32(7)), {}),
        ("Slice", (np.array([0, 1], _I), np.array([9, -1], _I), np.array([2, 3], _I)), {}),
        (
            "Slice",
            (np.array([0], _I), np.array([99], _I), np.array([2], _I), np.array([2], _I)),
            {},
        ),
        ("Gather", (np.array([[0, 2]], _I),), {"axis": 1}),
    ],
)
def test_an_operator_is_that_of_onnxruntime(
    tmp_path: Path, op: str, constants: tuple[Any, ...], attributes: dict[str, Any]
) -> None:
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 5)).astype(np.float32)
    path = _node_file(tmp_path / "node.onnx", op, [2, 4, 6, 5], *constants, **attributes)
    (expected,) = Graph(path).run([x])
    run = load_tail([path], torch.from_numpy(x), torch.from_numpy(expected))
    assert np.allclose(run(torch.from_numpy(x)).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "attributes", [{"transB": 1, "alpha": 2.0}, {"transA": 1}, {"transA": 1, "transB": 1}]
)
def test_matrix_products(tmp_path: Path, attributes: dict[str, Any]) -> None:
    x = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
    path = _node_file(tmp_path / "gemm.onnx", "Gemm", [4, 4], x[::-1].copy(), _VECTOR, **attributes)
    (expected,) = Graph(path).run([x])
    load_tail([path], torch.from_numpy(x), torch.from_numpy(expected))


def _segments(model: SourceModel, out: Path) -> list[Path]:
    cuts = find_cuts(model.graph)
    exported = export_segments(model, [resolve_cut("stem", cuts)], out)
    return [out / segment.ref.file for segment in exported.segments]


def test_segments_of_a_network_pass_gradients(
    tmp_path: Path, network: Callable[[str], SourceModel], images: NDArray[Any]
) -> None:
    model = network("shared")
    files = _segments(model, tmp_path)
    expected = torch.from_numpy(model.reference([images])[0])
    x = torch.from_numpy(images.copy()).requires_grad_()
    run = load_tail(files, x.detach(), expected)
    output = run(x)
    assert torch.allclose(output, expected, atol=1e-4)
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    assert gradient.abs().sum() > 0


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    path = _node_file(tmp_path / "node.onnx", "Erf", [1, 2])
    with pytest.raises(ModelError, match="operator Erf is not known"):
        load_tail([path], torch.zeros(1, 2), torch.zeros(1, 2))


def test_a_wrong_result_is_not_accepted(tmp_path: Path) -> None:
    path = _node_file(tmp_path / "node.onnx", "Relu", [1, 2])
    with pytest.raises(ModelError, match="torch does not compute"):
        load_tail([path], torch.ones(1, 2), torch.zeros(1, 2))
