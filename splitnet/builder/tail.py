"""Segments as a differentiable torch function, so that a bottleneck can be trained through them.

The weights stay frozen. Only the operators of common vision networks are known; for any other one
`load_tail` says so, and the caller does without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

from splitnet.errors import ModelError

Attributes: TypeAlias = Mapping[str, Any]
Operator: TypeAlias = Callable[[Sequence[Tensor | None], Attributes], Tensor]

TOLERANCE = 1e-3
"""Largest difference to onnxruntime, as a share of the largest output."""


@dataclass(frozen=True, slots=True)
class _Node:
    run: Operator
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class _Graph:
    input: str
    output: str
    weights: Mapping[str, Tensor]
    nodes: tuple[_Node, ...]

    def __call__(self, x: Tensor) -> Tensor:
        values = {**self.weights, self.input: x}
        for node in self.nodes:
            inputs = [values[name] if name else None for name in node.inputs]
            values[node.output] = node.run(inputs, node.attributes)
        return values[self.output]


def load_tail(
    files: Sequence[Path], example: Tensor, expected: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the chain of ONNX `files` as a function of torch tensors that passes gradients.

    Parameters
    ----------
    example, expected
        Some input and what onnxruntime made of it, to prove that the function is the same.

    Raises
    ------
    ModelError
        A file has several inputs or outputs, an operator is not known here, or the proof fails.
    """
    graphs = [_load(path) for path in files]

    def run(x: Tensor) -> Tensor:
        for graph in graphs:
            x = graph(x)
        return x

    with torch.inference_mode():
        found = run(example)
    limit = TOLERANCE * float(expected.abs().max())
    if found.shape != expected.shape or not float((found - expected).abs().max()) <= limit:
        raise ModelError("torch does not compute from the ONNX segments what onnxruntime does")
    return run


def _load(path: Path) -> _Graph:
    graph = onnx.load(path).graph
    weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelError(
            f"{path.name} has {len(inputs)} inputs and {len(graph.output)} outputs, one each is "
            "needed to train through it"
        )
    return _Graph(inputs[0], graph.output[0].name, weights, tuple(map(_node, graph.node)))


def _node(node: onnx.NodeProto) -> _Node:
    if node.op_type not in _OPERATORS or len(node.output) != 1:
        raise ModelError(f"the operator {node.op_type} is not known to the training of bottlenecks")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return _Node(_OPERATORS[node.op_type], tuple(node.input), node.output[0], attributes)


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def _integers(tensor: Tensor | None) -> list[int]:
    return [int(v) for v in _given(tensor).tolist()]


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda x, a: function(_given(x[0]))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda x, a: function(_given(x[0]), _given(x[1]))


def _padded(x: Tensor, attributes: Attributes, value: float) -> Tensor:
    """Pad the spatial dimensions as ``pads`` says, which may differ at both ends."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError("automatic padding is not known to the training of bottlenecks")
    pads = attributes.get("pads")
    return x if not pads or not any(pads) else F.pad(x, _torch_order(pads), value=value)


def _torch_order(pads: Sequence[int]) -> list[int]:
    """Return ONNX's (starts, ends) as torch's pairs, the last dimension first."""
    rank = len(pads) // 2
    return [p for i in reversed(range(rank)) for p in (pads[i], pads[i + rank])]


def _conv(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    weight = _given(x[1])
    spatial = weight.dim() - 2
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[spatial]
    return convolve(
        _padded(_given(x[0]), attributes, 0.0),
        weight,
        x[2] if len(x) > 2 else None,
        stride=attributes.get("strides", [1] * spatial),
        dilation=attributes.get("dilations", [1] * spatial),
        groups=attributes.get("group", 1),
    )


def _pool_sizes(attributes: Attributes) -> tuple[list[int], list[int], bool]:
    kernel = list(attributes["kernel_shape"])
    strides = list(attributes.get("strides", [1] * len(kernel)))
    return kernel, strides, bool(attributes.get("ceil_mode", 0))


def _max_pool(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    kernel, strides, ceil = _pool_sizes(attributes)
    padded = _padded(_given(x[0]), attributes, -torch.inf)
    return F.max_pool2d(padded, kernel, strides, ceil_mode=ceil)


def _average_pool(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    kernel, strides, ceil = _pool_sizes(attributes)
    image = _given(x[0])
    total = F.avg_pool2d(_padded(image, attributes, 0.0), kernel, strides, ceil_mode=ceil)
    if attributes.get("count_include_pad", 0) or not any(attributes.get("pads", ())):
        return total
    ones = _padded(torch.ones_like(image[:1, :1]), attributes, 0.0)
    return total / F.avg_pool2d(ones, kernel, strides, ceil_mode=ceil)


def _gemm(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    a, b = _given(x[0]), _given(x[1])
    a = a.mT if attributes.get("transA", 0) else a
    b = b.mT if attributes.get("transB", 0) else b
    product = torch.mul(a @ b, attributes.get("alpha", 1.0))
    if len(x) < 3 or x[2] is None:
        return product
    return torch.add(product, x[2], alpha=attributes.get("beta", 1.0))


def _batch_norm(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    image, scale, bias, mean, variance = (_given(t) for t in x[:5])
    epsilon = attributes.get("epsilon", 1e-5)
    return F.batch_norm(image, mean, variance, scale, bias, training=False, eps=epsilon)


def _clip(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    low = x[1] if len(x) > 1 else None
    high = x[2] if len(x) > 2 else None
    return torch.clamp(_given(x[0]), low, high)


def _reshape(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    tensor, shape = _given(x[0]), _integers(x[1])
    return tensor.reshape([tensor.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _flatten(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    tensor = _given(x[0])
    axis = attributes.get("axis", 1) % (tensor.dim() + 1)
    return tensor.reshape(prod(tensor.shape[:axis]), prod(tensor.shape[axis:]))


def _slice(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    tensor, starts, stops = _given(x[0]), _integers(x[1]), _integers(x[2])
    axes = _integers(x[3]) if len(x) > 3 and x[3] is not None else list(range(len(starts)))
    steps = _integers(x[4]) if len(x) > 4 and x[4] is not None else [1] * len(starts)
    if min(steps) < 1:
        raise ModelError("a slice that runs backwards is not known to the training of bottlenecks")
    index = [slice(None)] * tensor.dim()
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        index[axis] = slice(start, stop, step)
    return tensor[tuple(index)]


def _pad(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    if attributes.get("mode", b"constant") != b"constant" or len(x) > 3:
        raise ModelError("only constant padding is known to the training of bottlenecks")
    value = float(_given(x[2])) if len(x) > 2 and x[2] is not None else 0.0
    return F.pad(_given(x[0]), _torch_order(_integers(x[1])), value=value)


def _reduce_mean(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    axes = _integers(x[1]) if len(x) > 1 else list(attributes["axes"])
    return _given(x[0]).mean(axes, keepdim=bool(attributes.get("keepdims", 1)))


def _squeeze(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    return _given(x[0]).squeeze(tuple(_integers(x[1])))


def _unsqueeze(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    tensor, axes = _given(x[0]), _integers(x[1])
    rank = tensor.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        tensor = tensor.unsqueeze(axis)
    return tensor


def _gather(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    tensor, index = _given(x[0]), _given(x[1])
    axis = attributes.get("axis", 0) % tensor.dim()
    taken = tensor.index_select(axis, index.reshape(-1))
    return taken.reshape(*tensor.shape[:axis], *index.shape, *tensor.shape[axis + 1 :])


def _concat(x: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    return torch.cat([_given(tensor) for tensor in x], dim=attributes["axis"])


_OPERATORS: Mapping[str, Operator] = {
    "Add": _binary(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _binary(torch.div),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, a: _given(x[0]).mean((2, 3), keepdim=True),
    "HardSigmoid": lambda x, a: torch.clamp(
        a.get("alpha", 0.2) * _given(x[0]) + a.get("beta", 0.5), 0, 1
    ),
    "HardSwish": _unary(F.hardswish),
    "Identity": _unary(lambda x: x),
    "LeakyRelu": lambda x, a: F.leaky_relu(_given(x[0]), a.get("alpha", 0.01)),
    "MatMul": _binary(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _binary(torch.mul),
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Shape": lambda x, a: torch.tensor(_given(x[0]).shape),
    "Sigmoid": _unary(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda x, a: torch.softmax(_given(x[0]), a.get("axis", -1)),
    "Squeeze": _squeeze,
    "Sub": _binary(torch.sub),
    "Tanh": _unary(torch.tanh),
    "Transpose": lambda x, a: _given(x[0]).permute(*a["perm"]),
    "Unsqueeze": _unsqueeze,
}
