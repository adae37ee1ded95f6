"""Export of segments, of the whole model and of small modules as ONNX files over shards.

Bytes depend on the graph alone: tensors are named in canonical order, and nothing of the exporter
is kept. The same model gives the same hashes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from splitnet.builder.cuts import Cut
from splitnet.builder.graph import BATCH, IR_VERSION, Graph, Node
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
    input, output
        Form of the tensors on both sides.
    flops
        Work for one sample.
    costs
        Share of `flops` by operator class; the shares sum to 1.
    """

    ref: GraphRef
    input: TensorSpec
    output: TensorSpec
    flops: int
    costs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of a model cut at its boundaries (``boundaries`` includes input and output)."""

    boundaries: tuple[Boundary, ...]
    segments: tuple[GraphFile, ...]
    whole: GraphFile


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a graph under its final names, ready to be written."""

    input: TensorSpec
    output: TensorSpec
    nodes: Sequence[onnx.NodeProto]
    weights: Sequence[onnx.TensorProto]
    flops: Counter[str]


def export_segments(model: SourceModel, boundaries: Sequence[Cut], out: Path) -> Exported:
    """Write ``segment-<i>.onnx``, ``whole.onnx`` and their shards below `out`.

    The tensor at boundary ``i`` is named ``boundary<i>`` in every file. The whole model is the
    chain of the segments in one file, over the same shards; a weight that several segments use is
    in the shard of each.

    Parameters
    ----------
    boundaries
        Interior cuts of ``model.graph`` in the order of the computation.

    Raises
    ------
    PartitionError
        The cuts are not in order, or not of this model.
    """
    graph = model.graph
    ends = _ends(graph, boundaries)
    tensors = [graph.input.name, *(cut.tensor for cut in boundaries), graph.output.name]
    specs = [graph.measured[t].spec(f"boundary{i}") for i, t in enumerate(tensors)]
    parts, files = [], []
    for index, (first, stop) in enumerate(pairwise([0, *ends])):
        nodes = graph.nodes[first:stop]
        borders = {tensors[index]: specs[index], tensors[index + 1]: specs[index + 1]}
        part, shards = _stored(_Namer(graph, f"s{index}_").part(nodes, borders), out)
        parts.append(part)
        files.append(_write(part, graph.opsets, f"segment-{index}", shards, out))
    whole = _Part(
        specs[0],
        specs[-1],
        [node for part in parts for node in part.nodes],
        [weight for part in parts for weight in part.weights],
        sum((part.flops for part in parts), Counter()),
    )
    shards = tuple(dict.fromkeys(shard for file in files for shard in file.ref.shards))
    ids = ["input", *(cut.id for cut in boundaries), "output"]
    return Exported(
        boundaries=tuple(Boundary(id_, (spec,)) for id_, spec in zip(ids, specs, strict=True)),
        segments=tuple(files),
        whole=_write(whole, graph.opsets, "whole", shards, out),
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
    graph = source_from_torch(name, module, example).graph
    borders = {
        graph.input.name: replace(graph.input, name="input"),
        graph.output.name: replace(graph.output, name="output"),
    }
    part, shards = _stored(_Namer(graph, "").part(graph.nodes, borders), out)
    return _write(part, graph.opsets, name, shards, out)


def _ends(graph: Graph, boundaries: Sequence[Cut]) -> list[int]:
    """Return the place behind the last node of each segment."""
    places = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs}
    ends = [places.get(cut.tensor, -1) + 1 for cut in boundaries]
    if sorted(set(ends)) != ends or ends[:1] == [0]:
        names = ", ".join(cut.id for cut in boundaries)
        raise PartitionError(f"boundaries {names} are not in the order of this model's computation")
    return [*ends, len(graph.nodes)]


@dataclass(slots=True)
class _Namer:
    """Gives final names to the tensors of one part, in the order in which they are met."""

    graph: Graph
    prefix: str
    names: dict[str, str] = field(default_factory=lambda: {"": ""})
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def part(self, nodes: Iterable[Node], borders: Mapping[str, TensorSpec]) -> _Part:
        """Return `nodes` with all constants they need, between the two tensors of `borders`."""
        source, answer = borders.values()
        self.names.update((tensor, spec.name) for tensor, spec in borders.items())
        flops = Counter[str]()
        for node in nodes:
            self._add(node, source.name)
            flops[self.graph.operator_class(node)] += self.graph.flops(node)
        return _Part(source, answer, self.nodes, self.weights, flops)

    def _add(self, node: Node, source: str) -> None:
        for name in node.inputs:
            if name not in self.names:
                self._supply(name, source)
        for name in node.outputs:
            self.names.setdefault(name, f"{self.prefix}t{len(self.names)}")
        inputs, outputs = ([self.names[n] for n in ns] for ns in (node.inputs, node.outputs))
        self._emit(node, inputs, outputs)

    def _supply(self, name: str, source: str) -> None:
        """Bring a constant into this part."""
        if name in self.graph.constants:
            self._add(self.graph.constants[name], source)
            return
        self.names[name] = final = f"{self.prefix}w{len(self.names)}"
        if name == BATCH:
            self._read_batch(source, final)
            return
        weight = onnx.TensorProto()
        weight.CopyFrom(self.graph.weights[name])
        weight.name = final
        self.weights.append(weight)

    def _read_batch(self, source: str, final: str) -> None:
        first = onnx.helper.make_tensor(f"{final}_first", onnx.TensorProto.INT64, [1], [0])
        self.weights.append(first)
        self._emit(Node("Shape", "", {}, (), ()), [source], [f"{final}_shape"])
        self._emit(Node("Gather", "", {}, (), ()), [f"{final}_shape", first.name], [final])

    def _emit(self, node: Node, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        name = f"{self.prefix}{node.op.lower()}{len(self.nodes)}"
        proto = onnx.helper.make_node(node.op, inputs, outputs, name, domain=node.domain)
        proto.attribute.extend(node.attributes[key] for key in sorted(node.attributes))
        self.nodes.append(proto)


def _stored(part: _Part, out: Path) -> tuple[_Part, tuple[str, ...]]:
    """Return `part` with its weights in a shard, and the hash of the shard."""
    tensors, shards = pack_weights(part.weights, out)
    return replace(part, weights=tuple(tensors.values())), shards


def _write(
    part: _Part, opsets: Mapping[str, int], name: str, shards: tuple[str, ...], out: Path
) -> GraphFile:
    domains = {node.domain for node in part.nodes}
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            part.nodes, name, [_port(part.input)], [_port(part.output)], part.weights
        ),
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
    ref = GraphRef(f"{name}.onnx", hashlib.sha256(data).hexdigest(), shards)
    total = part.flops.total()
    costs = {k: v / total for k, v in sorted(part.flops.items()) if v} if total else {"other": 1.0}
    return GraphFile(ref, part.input, part.output, total, costs)


def _port(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(spec.name, kind, spec.dims)
