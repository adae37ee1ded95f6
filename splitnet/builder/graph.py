"""A read-only view of an ONNX graph, normalised so that it can be cut.

Whatever does not look at the content of the inputs is a constant: weights, and the sizes that a
graph reads with ``Shape``, which are rebuilt from the batch size and the other dynamic dimensions
alone. Constants are duplicated into every segment that needs them, so they never cross a cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from splitnet.builder.operators import COUNTED_ATTRIBUTES, OperatorClass, classify, count_flops
from splitnet.builder.ordering import digest
from splitnet.builder.shapes import Measured
from splitnet.values import TensorSpec

OPSET = 18
"""Newest operator set that a bundle may use."""

IR_VERSION = 9
"""Newest file format that the oldest supported onnxruntime reads."""

SIZE = "splitnet::size::"
"""Beginning of the names of constants that hold a size such as the number of samples, int64 (1,):
a segment reads them off its inputs."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    Attributes
    ----------
    op, domain, attributes
        What ONNX calls it, and its parameters by name.
    inputs, outputs
        Names of tensors; an empty name is an optional one left out.
    module
        Path of the torch module that called it; empty for the root and for ONNX files.
    """

    op: str
    domain: str
    attributes: Mapping[str, onnx.AttributeProto]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    module: str = ""

    @property
    def signature(self) -> bytes:
        """Return operator and attributes as bytes that depend on nothing else."""
        values = (self.attributes[k].SerializeToString(deterministic=True) for k in self.attributes)
        return digest(self.domain.encode(), self.op.encode(), *sorted(values))

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute."""
        found = self.attributes.get(name)
        return default if found is None else onnx.helper.get_attribute_value(found)


@dataclass(frozen=True, slots=True)
class Graph:
    """A model.

    Attributes
    ----------
    inputs, outputs
        Form of the tensors at both ends, under their names in the graph.
    nodes
        The operators that look at the content of the inputs, in canonical order.
    constants
        The operators that do not, by the names of what they compute.
    weights
        Initialisers by name.
    measured
        Form of every computed tensor whose shape does not depend on the content of the inputs.
    opsets
        Version of each operator set in use.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Node]
    weights: Mapping[str, onnx.TensorProto]
    measured: Mapping[str, Measured]
    opsets: Mapping[str, int]

    def sizes_of(self, node: Node) -> frozenset[str]:
        """Return the dynamic dimensions, by name, whose sizes `node` needs beside its inputs."""
        found: set[str] = set()
        waiting = list(node.inputs)
        while waiting:
            name = waiting.pop()
            if name.startswith(SIZE):
                found.add(name.removeprefix(SIZE))
            elif name in self.constants:
                waiting.extend(self.constants[name].inputs)
        return frozenset(found)

    def operator_class(self, node: Node) -> OperatorClass:
        """Return the operator class of `node`."""
        weight = self._shape(node.inputs[1]) if len(node.inputs) > 1 else ()
        return classify(node.op, weight, node.attribute("group", 1))

    def flops(self, node: Node) -> int:
        """Return the work of `node` for one sample (see `count_flops`)."""
        inputs, outputs = (
            [self._shape(name) for name in names if name] for names in (node.inputs, node.outputs)
        )
        attributes = {k: node.attribute(k) for k in COUNTED_ATTRIBUTES if k in node.attributes}
        return count_flops(node.op, inputs, outputs, attributes)

    def _shape(self, name: str) -> tuple[int, ...]:
        if name in self.weights:
            return tuple(self.weights[name].dims)
        return self.measured[name].shape if name in self.measured else ()
