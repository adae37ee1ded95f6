"""Normalisation of an ONNX model into a `Graph`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from splitnet.builder.graph import BATCH, Graph, Node
from splitnet.builder.operators import UNPREDICTABLE
from splitnet.builder.ordering import canonical_order, digest
from splitnet.builder.shapes import Measured, measure
from splitnet.errors import ModelError

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter keeps the module paths of a node, outermost first, then the call."""

Weights = Mapping[str, onnx.TensorProto]


def read_graph(model: onnx.ModelProto, one: NDArray[Any], two: NDArray[Any]) -> Graph:
    """Normalise a model with one input and one output.

    Parameters
    ----------
    one, two
        Prepared batches of one and of two samples, on which shapes are measured.

    Raises
    ------
    ModelError
        An operator that cannot be cut or run, or an input or output that is not batched.
    """
    source, answer = model.graph.input[0].name, model.graph.output[0].name
    nodes = _nodes(model.graph.node)
    measured = _predictable(measure(model, one, two), nodes)
    for end, name in (("input", source), ("output", answer)):
        _require_batch(end, measured.get(name))
    nodes, weights = _fold(nodes, {w.name: w for w in model.graph.initializer}, measured)
    nodes = _needed(nodes, answer)
    leaves = {name: (_form(w), _content(w)) for name, w in weights.items()}
    leaves |= {source: (b"input", b""), BATCH: (b"batch", b"")}
    nodes = [nodes[index] for index in canonical_order(nodes, leaves, answer)]
    reached = _reached(nodes, {source})
    if answer not in reached:
        raise ModelError("the model's output does not depend on its input: nothing can be cut")
    return Graph(
        input=measured[source].spec(source),
        output=measured[answer].spec(answer),
        nodes=tuple(n for n in nodes if not reached.isdisjoint(n.outputs)),
        constants={t: n for n in nodes if reached.isdisjoint(n.outputs) for t in n.outputs},
        weights=weights,
        measured=measured,
        opsets={_domain(entry.domain): entry.version for entry in model.opset_import},
    )


def _nodes(protos: Iterable[onnx.NodeProto]) -> list[Node]:
    """Read the operators; one that lost its module path in a rewrite takes its producer's."""
    nodes, paths = [], dict[str, str]()
    for proto in protos:
        path = _module_path(proto)
        if path is None:
            path = next((paths[name] for name in proto.input if name in paths), "")
        paths.update(dict.fromkeys(proto.output, path))
        inputs, outputs = tuple(proto.input), tuple(proto.output)
        domain, attributes = _domain(proto.domain), _attributes(proto)
        nodes.append(Node(proto.op_type, domain, attributes, inputs, outputs, path))
    return nodes


def _domain(name: str) -> str:
    """Return the short name of the standard operators, and any other as it is."""
    return "" if name == "ai.onnx" else name


def _module_path(proto: onnx.NodeProto) -> str | None:
    for entry in proto.metadata_props:
        if entry.key == _SCOPES:
            *modules, _call = ast.literal_eval(entry.value)
            return modules[-1] if modules else ""
    return None


def _attributes(proto: onnx.NodeProto) -> dict[str, onnx.AttributeProto]:
    attributes = {}
    for attribute in proto.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise ModelError(
                f"the operator {proto.op_type} ({proto.name or proto.output[0]}) contains a graph "
                "of its own: export the model without branches and loops on tensor values"
            )
        attributes[attribute.name] = clean = onnx.AttributeProto()
        clean.CopyFrom(attribute)
        clean.ClearField("doc_string")
    return attributes


def _predictable(measured: Mapping[str, Measured], nodes: Sequence[Node]) -> Mapping[str, Measured]:
    """Leave out the tensors whose shape may depend on what the input contains."""
    seeds = {name for node in nodes if node.op in UNPREDICTABLE for name in node.outputs}
    unknown = _reached(nodes, seeds)
    return {name: form for name, form in measured.items() if name not in unknown}


def _require_batch(end: str, form: Measured | None) -> None:
    if form is None or not form.batched:
        shape = "a shape that depends on the data" if form is None else list(form.spec(end).dims)
        raise ModelError(
            f"the model's {end} is {shape}, where N is the number of samples: "
            "its first dimension must be N, and no other may depend on N"
        )


def _reached(nodes: Iterable[Node], seeds: set[str]) -> set[str]:
    """Return `seeds` and all tensors computed from them; `nodes` are in topological order."""
    reached = set(seeds)
    for node in nodes:
        if not reached.isdisjoint(node.inputs):
            reached.update(filter(None, node.outputs))
    return reached


def _needed(nodes: Sequence[Node], answer: str) -> list[Node]:
    """Return the nodes without which `answer` cannot be computed."""
    wanted, kept = {answer}, []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            kept.append(node)
            wanted.update(filter(None, node.inputs))
    return kept[::-1]


def _fold(
    nodes: Sequence[Node], weights: Weights, measured: Mapping[str, Measured]
) -> tuple[list[Node], Weights]:
    """Turn ``Constant`` into weights, and ``Shape`` into arithmetic on the batch size."""
    kept, found = [], dict(weights)
    for node in nodes:
        if node.op == "Constant" and "sparse_value" not in node.attributes:
            found[node.outputs[0]] = _constant(node)
        elif node.op == "Shape" and node.inputs[0] in measured:
            added, values = _shape_from_batch(node, measured[node.inputs[0]])
            kept.extend(added)
            found.update(values)
        else:
            kept.append(node)
    return kept, found


def _constant(node: Node) -> onnx.TensorProto:
    (attribute,) = node.attributes.values()
    if attribute.name == "value":
        return attribute.t
    dtype = {"i": np.int64, "f": np.float32}.get(attribute.name.removeprefix("value_")[0], object)
    value = np.asarray(onnx.helper.get_attribute_value(attribute), dtype)
    return numpy_helper.from_array(value)


def _shape_from_batch(node: Node, form: Measured) -> tuple[list[Node], dict[str, onnx.TensorProto]]:
    """Return nodes and weights that compute ``fixed + growth * batch``."""
    part = slice(node.attribute("start"), node.attribute("end"))
    growth = np.asarray(form.growth[part], np.int64)
    fixed = np.asarray(form.shape[part], np.int64) - growth
    (result,) = node.outputs
    if not growth.any():
        return [], {result: numpy_helper.from_array(fixed)}
    names = [f"{result}::{part}" for part in ("growth", "times", "fixed")]
    added = [
        Node("Mul", "", {}, (BATCH, names[0]), (names[1],)),
        Node("Add", "", {}, (names[1], names[2]), (result,)),
    ]
    values = zip((names[0], names[2]), map(numpy_helper.from_array, (growth, fixed)), strict=True)
    return added, dict(values)


def _form(weight: onnx.TensorProto) -> bytes:
    return digest(str((weight.data_type, *weight.dims)).encode())


def _content(weight: onnx.TensorProto) -> bytes:
    if weight.data_type == onnx.TensorProto.STRING:
        return digest(*weight.string_data)
    return digest(numpy_helper.to_array(weight).tobytes())
