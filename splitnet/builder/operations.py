"""Collects the operators of a graph that is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Operations:
    """Operators in the order of the computation, and the constants that they read.

    Attributes
    ----------
    nodes, weights
        What was collected so far.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append an operator with one output, and return the name of that."""
        output = f"t{len(self.nodes)}"
        self.emit(op, inputs, [output], **attributes)
        return output

    def emit(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Append an operator whose outputs have names already."""
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, outputs, name, **attributes))

    def floats(self, values: NDArray[Any] | Sequence[float] | float) -> str:
        """Return the name of a float32 constant."""
        return self._constant(np.asarray(values, np.float32))

    def integers(self, values: Sequence[int] | int) -> str:
        """Return the name of an int64 constant."""
        return self._constant(np.asarray(values, np.int64))

    def part(self, tensor: str, first: int, stop: int, axis: int) -> str:
        """Return elements `first` to `stop - 1` along an axis."""
        bounds = [self.integers([value]) for value in (first, stop, axis)]
        return self.add("Slice", [tensor, *bounds])

    def _constant(self, values: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name
