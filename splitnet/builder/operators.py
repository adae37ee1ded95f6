"""What ONNX operators are to a partitioner: their class, and their work from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal, TypeAlias

OperatorClass: TypeAlias = Literal["conv", "depthwise", "matmul", "elementwise", "other"]
Shape: TypeAlias = tuple[int, ...]

ACTIVATIONS = frozenset(
    "Celu Clip Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Mish PRelu Relu Selu Sigmoid "
    "Softplus Softsign Sqrt Swish Tanh ThresholdedRelu".split()
)
"""Non-linear functions of single elements: an activation consists of one or more of them."""

ARITHMETIC = frozenset(
    "Abs Add BatchNormalization Cast Ceil Div Dropout Floor Identity Max Mean Min Mul Neg Pow "
    "Reciprocal Round Sign Sub Sum Where".split()
)
"""Other functions of single elements; batch normalisation is one in inference."""

MOVES = frozenset(
    "Concat DepthToSpace Expand Flatten Gather Identity Pad Reshape Shape Slice SpaceToDepth "
    "Split Squeeze Tile Transpose Unsqueeze".split()
)
"""Operators that move data and compute nothing."""

UNPREDICTABLE = frozenset("Compress NonMaxSuppression NonZero StringSplit Unique".split())
"""Operators whose output shape depends on the content of their input."""

COUNTED_ATTRIBUTES = ("kernel_shape", "transA")
"""The attributes that `count_flops` looks at."""


def classify(op: str, weight: Shape, group: int) -> OperatorClass:
    """Return the class of an operator; `weight` is the shape of its second input."""
    if op in ("Conv", "ConvTranspose"):
        channels = weight[0] if op == "ConvTranspose" else weight[1] * group
        return "depthwise" if 1 < group == channels else "conv"
    if op in ("MatMul", "Gemm"):
        return "matmul"
    return "elementwise" if is_elementwise(op) else "other"


def is_elementwise(op: str) -> bool:
    """Return whether each element of the output depends on one element of each input."""
    return op in ACTIVATIONS or op in ARITHMETIC


def count_flops(
    op: str, inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, Any]
) -> int:
    """Return the floating point operations of one call.

    A multiply-accumulate counts as two. Anything but a convolution and a matrix product counts one
    for each element that it produces or, if it reduces, that it reads; moving data is free.
    """
    if op == "Conv":
        return 2 * prod(outputs[0]) * prod(inputs[1][1:])
    if op == "ConvTranspose":
        return 2 * prod(inputs[0]) * prod(inputs[1][1:])
    if op == "MatMul":
        return 2 * prod(outputs[0]) * inputs[0][-1]
    if op == "Gemm":
        return 2 * prod(outputs[0]) * inputs[0][0 if attributes.get("transA", 0) else 1]
    if op in MOVES:
        return 0
    produced = sum(map(prod, outputs))
    if "kernel_shape" in attributes:
        return produced * int(prod(attributes["kernel_shape"]))
    return max(produced, prod(inputs[0]) if inputs else 0)
