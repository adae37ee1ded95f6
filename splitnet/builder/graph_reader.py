"""Normalisation of an ONNX model into a `Graph`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from splitnet.builder.graph import SIZE, Graph, Node
from splitnet.builder.operators import UNPREDICTABLE
from splitnet.builder.ordering import canonical_order, digest, port_mark
from splitnet.builder.shapes import Measured, measure
from splitnet.builder.weights import Weights, weight_bytes
from splitnet.errors import ModelError

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter keeps the module paths of a node, outermost first, then the call."""


def read_graph(model: onnx.ModelProto, example: Sequence[NDArray[Any]]) -> Graph:
    """Normalise a model.

    Parameters
    ----------
    example
        One sample, on which shapes are measured: each input with its batch dimension, ``(1, ...)``.

    Raises
    ------
    ModelError
        An operator that cannot be cut or run, or an input or output that is not batched.
    """
    sources = [port.name for port in model.graph.input]
    answers = [port.name for port in model.graph.output]
    nodes = _nodes(model.graph.node)
    measured = _predictable(measure(model, example, dynamic_axes(model)), nodes)
    for end, names in (("input", sources), ("output", answers)):
        for number, name in enumerate(names):
            _require_batch(end if len(names) == 1 else f"{end} {number}", measured.get(name))
    nodes, weights = _fold(nodes, {w.name: w for w in model.graph.initializer}, measured)
    nodes = _needed(nodes, answers)
    leaves = {name: (_form(w), _content(w)) for name, w in weights.items()}
    leaves |= {name: (port_mark("input", i), b"") for i, name in enumerate(sources)}
    sizes = {n for node in nodes for n in node.inputs if n.startswith(SIZE)}
    leaves |= {name: (name.encode(), b"") for name in sizes}
    nodes = [nodes[index] for index in canonical_order(nodes, leaves, answers)]
    reached = _reached(nodes, set(sources))
    _require_work(answers, sources, reached)
    return Graph(
        inputs=tuple(measured[name].spec(name) for name in sources),
        outputs=tuple(measured[name].spec(name) for name in answers),
        nodes=tuple(n for n in nodes if not reached.isdisjoint(n.outputs)),
        constants={t: n for n in nodes if reached.isdisjoint(n.outputs) for t in n.outputs},
        weights=weights,
        measured=measured,
        opsets={_domain(entry.domain): entry.version for entry in model.opset_import},
    )


def dynamic_axes(model: onnx.ModelProto) -> list[dict[int, str]]:
    """Return the named dimensions of each input, by axis, without the batch."""
    found = []
    for port in model.graph.input:
        dims = port.type.tensor_type.shape.dim
        found.append({i: d.dim_param for i, d in enumerate(dims) if i and d.dim_param})
    return found


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


def _require_work(answers: Sequence[str], sources: Sequence[str], reached: set[str]) -> None:
    for name in answers:
        if name not in reached:
            raise ModelError(
                "the model's output does not depend on its input: nothing can be cut"
                if len(answers) == 1
                else f"the model's output {name!r} does not depend on its inputs: leave it out"
            )
        if name in sources or answers.count(name) > 1:
            raise ModelError(
                f"the model's output {name!r} is an input or another output, as it is: leave it out"
            )


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


def _needed(nodes: Sequence[Node], answers: Sequence[str]) -> list[Node]:
    """Return the nodes without which `answers` cannot be computed."""
    wanted, kept = set(answers), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            kept.append(node)
            wanted.update(filter(None, node.inputs))
    return kept[::-1]


def _fold(
    nodes: Sequence[Node], weights: Weights, measured: Mapping[str, Measured]
) -> tuple[list[Node], Weights]:
    """Turn ``Constant`` into weights, and ``Shape`` into arithmetic on sizes."""
    kept, found = [], dict(weights)
    for node in nodes:
        if node.op == "Constant" and "sparse_value" not in node.attributes:
            found[node.outputs[0]] = _constant(node)
        elif node.op == "Shape" and _known_shape(node, measured):
            added, values = _shape_from_sizes(node, measured[node.inputs[0]])
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


def _known_shape(node: Node, measured: Mapping[str, Measured]) -> bool:
    form = measured.get(node.inputs[0])
    return form is not None and all(extent.linear for extent in form.extents[_part(node)])


def _part(node: Node) -> slice:
    return slice(node.attribute("start"), node.attribute("end"))


def _shape_from_sizes(node: Node, form: Measured) -> tuple[list[Node], dict[str, onnx.TensorProto]]:
    """Return nodes and weights that compute ``fixed + growth * size`` over all sizes."""
    extents = form.extents[_part(node)]
    names = dict.fromkeys(name for extent in extents for name, _ in extent.growth)
    (result,) = node.outputs
    fixed = np.array([extent.fixed for extent in extents], np.int64)
    if not names:
        return [], {result: numpy_helper.from_array(fixed)}
    total = f"{result}::fixed"
    added, values = [], {total: numpy_helper.from_array(fixed)}
    for place, name in enumerate(names):
        growth = [dict(extent.growth).get(name) or 0 for extent in extents]
        factor, times = f"{result}::growth{place}", f"{result}::times{place}"
        values[factor] = numpy_helper.from_array(np.array(growth, np.int64))
        last = place == len(names) - 1
        added.append(Node("Mul", "", {}, (SIZE + name, factor), (times,)))
        added.append(
            Node("Add", "", {}, (times, total), (result if last else f"{result}::sum{place}",))
        )
        total = f"{result}::sum{place}"
    return added, values


def _form(weight: onnx.TensorProto) -> bytes:
    return digest(str((weight.data_type, *weight.dims)).encode())


def _content(weight: onnx.TensorProto) -> bytes:
    if weight.data_type == onnx.TensorProto.STRING:
        return digest(*weight.string_data)
    return digest(weight_bytes(weight))
