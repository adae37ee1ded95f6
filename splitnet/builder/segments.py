"""Export of segments, of the whole model and of small modules as ONNX files over shards.

Bytes depend on the graph alone: tensors are named in canonical order, and nothing of the exporter
is kept. The same model gives the same hashes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from splitnet.builder.cuts import Cut
from splitnet.builder.flow import bits
from splitnet.builder.graph import IR_VERSION, SIZE, Graph, Node
from splitnet.builder.model import SourceModel, source_from_torch
from splitnet.builder.shards import pack_weights
from splitnet.bundle import Boundary, GraphRef
from splitnet.errors import PartitionError
from splitnet.values import TensorSpec


@dataclass(frozen=True, slots=True)
class GraphFile:
    """A graph written to disk.

    Attributes
    ----------
    ref
        File, hash and shards, as the contract names them.
    inputs, outputs
        Form of the tensors on both sides.
    flops
        Work for one sample.
    costs
        Share of `flops` by operator class; the shares sum to 1.
    """

    ref: GraphRef
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    flops: int
    costs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of a model cut at its boundaries (``boundaries`` includes input and output).

    Attributes
    ----------
    fused
        Runs of several segments as one graph, by the boundaries at both ends.
    """

    boundaries: tuple[Boundary, ...]
    segments: tuple[GraphFile, ...]
    whole: GraphFile
    fused: Mapping[tuple[int, int], GraphFile]


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a graph under its final names, ready to be written."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: Sequence[onnx.NodeProto]
    weights: Sequence[onnx.TensorProto]
    flops: Counter[str]
    shards: tuple[str, ...] = ()


Border: TypeAlias = Mapping[str, TensorSpec]
"""The tensors at one end of a part, and their forms under their final names."""


def export_segments(
    model: SourceModel,
    boundaries: Sequence[Cut],
    out: Path,
    fused: Iterable[tuple[int, int]] = (),
) -> Exported:
    """Write ``segment-<i>.onnx``, ``whole.onnx`` and their shards below `out`.

    The tensor at boundary ``i`` is named ``boundary<i>`` in every file, ``boundary<i>.<k>`` if
    there are several; several inputs keep the names that the model gives them. The whole model is
    the chain of the segments in one file, over the same shards; a weight that several segments use
    is in the shard of each.

    Parameters
    ----------
    boundaries
        Interior cuts of ``model.graph`` in the order of the computation.
    fused
        Runs of segments to write as one graph too, ``fused-<first>-<stop>.onnx``, by the numbers
        of the boundaries at both ends.

    Raises
    ------
    PartitionError
        The cuts are not in order, or not of this model.
    """
    graph = model.graph
    ends = _ends(graph, boundaries)
    borders = _borders(graph, boundaries)
    parts, files = [], []
    for index, (first, stop) in enumerate(pairwise([0, *ends])):
        nodes = [graph.nodes[i] for i in bits(stop & ~first)]
        namer = _Namer(graph, f"s{index}_", borders[index])
        part = _stored(namer.part(nodes, borders[index + 1]), out)
        parts.append(part)
        files.append(_write(part, graph.opsets, f"segment-{index}", out))
    ids = ["input", *(cut.id for cut in boundaries), "output"]
    specs = [tuple(border.values()) for border in borders]
    return Exported(
        boundaries=tuple(Boundary(id_, at) for id_, at in zip(ids, specs, strict=True)),
        segments=tuple(files),
        whole=_write(_chained(parts), graph.opsets, "whole", out),
        fused={
            (i, j): _write(_chained(parts[i:j]), graph.opsets, f"fused-{i}-{j}", out)
            for i, j in fused
        },
    )


def export_module(
    module: torch.nn.Module, example: NDArray[Any], name: str, out: Path
) -> GraphFile:
    """Write a small torch module (exit, encoder, decoder) as ``<name>.onnx`` below `out`.

    The module is put into eval mode. Its tensors are named ``input`` and ``output``.

    Parameters
    ----------
    example
        One sample with its batch dimension, ``(1, ...)``.

    Raises
    ------
    ModelError
        The module cannot be exported, or mixes the samples of a batch.
    """
    graph = source_from_torch(name, module, [example]).graph
    (source,), (answer,) = graph.inputs, graph.outputs
    namer = _Namer(graph, "", {source.name: replace(source, name="input")})
    part = namer.part(graph.nodes, {answer.name: replace(answer, name="output")})
    return _write(_stored(part, out), graph.opsets, name, out)


_TAKEN_NAME = re.compile(r"boundary\d|s\d+_")
"""Names of this module's making, which an input must not have."""


def _ends(graph: Graph, boundaries: Sequence[Cut]) -> list[int]:
    """Return the set of operators in front of the end of each segment."""
    ends = [cut.before for cut in boundaries]
    every = (1 << len(graph.nodes)) - 1
    ordered = all(a & ~b == 0 and a != b for a, b in pairwise([0, *ends, every]))
    if not ordered or not all(t in graph.measured for cut in boundaries for t in cut.tensors):
        names = ", ".join(cut.id for cut in boundaries)
        raise PartitionError(f"boundaries {names} are not in the order of this model's computation")
    return [*ends, every]


def _borders(graph: Graph, boundaries: Sequence[Cut]) -> list[Border]:
    """Return the tensors of each boundary under their final names."""
    inputs, outputs = ([spec.name for spec in specs] for specs in (graph.inputs, graph.outputs))
    borders: list[Border] = []
    for index, tensors in enumerate([inputs, *(cut.tensors for cut in boundaries), outputs]):
        border: dict[str, TensorSpec] = {}
        for place, tensor in enumerate(tensors):
            name = f"boundary{index}" + (f".{place}" if len(tensors) > 1 else "")
            if index == 0 and len(tensors) > 1 and not _TAKEN_NAME.match(tensor):
                name = tensor
            border[tensor] = graph.measured[tensor].spec(name)
        borders.append(border)
    return borders


class _Namer:
    """Gives final names to the tensors of one part, in the order in which they are met."""

    def __init__(self, graph: Graph, prefix: str, sources: Border) -> None:
        self._graph = graph
        self._prefix = prefix
        self._sources = sources
        self._names = {"": ""} | {tensor: spec.name for tensor, spec in sources.items()}
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def part(self, nodes: Iterable[Node], answers: Border) -> _Part:
        """Return `nodes` with all constants they need, and `answers` as their outputs."""
        passed = [tensor for tensor in answers if tensor in self._sources]
        self._names.update((t, spec.name) for t, spec in answers.items() if t not in passed)
        flops = Counter[str]()
        for node in nodes:
            self._add(node)
            flops[self._graph.operator_class(node)] += self._graph.flops(node)
        for tensor in passed:
            names = [self._sources[tensor].name], [answers[tensor].name]
            self._emit(Node("Identity", "", {}, (), ()), *names)
        ends = tuple(self._sources.values()), tuple(answers.values())
        return _Part(*ends, self._nodes, self._weights, flops)

    def _add(self, node: Node) -> None:
        for name in node.inputs:
            if name not in self._names:
                self._supply(name)
        for name in node.outputs:
            self._names.setdefault(name, f"{self._prefix}t{len(self._names)}")
        inputs, outputs = ([self._names[n] for n in ns] for ns in (node.inputs, node.outputs))
        self._emit(node, inputs, outputs)

    def _supply(self, name: str) -> None:
        """Bring a constant into this part."""
        if name in self._graph.constants:
            self._add(self._graph.constants[name])
            return
        self._names[name] = final = f"{self._prefix}w{len(self._names)}"
        if name.startswith(SIZE):
            self._read_size(name.removeprefix(SIZE), final)
            return
        weight = onnx.TensorProto()
        weight.CopyFrom(self._graph.weights[name])
        weight.name = final
        self._weights.append(weight)

    def _read_size(self, size: str, final: str) -> None:
        """Read a size off a dimension of an input."""
        tensor, (axis, more) = next(
            (tensor, shown[size])
            for tensor in self._sources
            if size in (shown := self._graph.measured[tensor].readable)
        )
        place = self._whole_number(f"{final}_axis", axis)
        self._emit(_SHAPE, [self._names[tensor]], [f"{final}_shape"])
        self._emit(_GATHER, [f"{final}_shape", place], [f"{final}_dim" if more else final])
        if more:
            less = self._whole_number(f"{final}_more", more)
            self._emit(_SUB, [f"{final}_dim", less], [final])

    def _whole_number(self, name: str, value: int) -> str:
        self._weights.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [1], [value]))
        return name

    def _emit(self, node: Node, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        name = f"{self._prefix}{node.op.lower()}{len(self._nodes)}"
        proto = onnx.helper.make_node(node.op, inputs, outputs, name, domain=node.domain)
        proto.attribute.extend(node.attributes[key] for key in sorted(node.attributes))
        self._nodes.append(proto)


_SHAPE, _GATHER, _SUB = (Node(op, "", {}, (), ()) for op in ("Shape", "Gather", "Sub"))


def _stored(part: _Part, out: Path) -> _Part:
    """Return `part` with its weights in a shard."""
    tensors, shards = pack_weights(part.weights, out)
    return replace(part, weights=tuple(tensors.values()), shards=shards)


def _chained(parts: Sequence[_Part]) -> _Part:
    """Return neighbouring parts as one."""
    return _Part(
        parts[0].inputs,
        parts[-1].outputs,
        [node for part in parts for node in part.nodes],
        [weight for part in parts for weight in part.weights],
        sum((part.flops for part in parts), Counter()),
        tuple(dict.fromkeys(shard for part in parts for shard in part.shards)),
    )


def _write(part: _Part, opsets: Mapping[str, int], name: str, out: Path) -> GraphFile:
    domains = {node.domain for node in part.nodes}
    inputs, outputs = ([_port(spec) for spec in end] for end in (part.inputs, part.outputs))
    model = onnx.helper.make_model(
        onnx.helper.make_graph(part.nodes, name, inputs, outputs, part.weights),
        opset_imports=[
            onnx.helper.make_opsetid(domain, opsets[domain])
            for domain in sorted(opsets)
            if domain in domains
        ],
        ir_version=IR_VERSION,
        producer_name="splitnet",
    )
    data = model.SerializeToString(deterministic=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.onnx").write_bytes(data)
    ref = GraphRef(f"{name}.onnx", hashlib.sha256(data).hexdigest(), part.shards)
    total = part.flops.total()
    costs = {k: v / total for k, v in sorted(part.flops.items()) if v} if total else {"other": 1.0}
    return GraphFile(ref, part.inputs, part.outputs, total, costs)


def _port(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(spec.name, kind, spec.dims)
