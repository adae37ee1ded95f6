"""What the graphs of a bundle have to do, read off their files: operators, bytes, weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import onnx

from splitnet.bundle import Contract, ExitHead, FusedRun, GraphRef, Work
from splitnet.errors import BundleError
from splitnet.runtime.directory import bundle_file
from splitnet.values import (
    DTYPE_BYTES,
    PREPARE_STAGE,
    TensorSpec,
    decode_stage,
    encode_stage,
    exit_stage,
    fused_stage,
    segment_stage,
)

NOTHING = Work(0, 0, 0)


def stage_work(
    directory: Path,
    contract: Contract,
    exits: Sequence[ExitHead],
    fused: Sequence[FusedRun] = (),
) -> dict[str, Work]:
    """Return the work of every stage of a bundle; only segments, exits and coders have weights.

    A codec counts as one operator for each tensor that crosses, preprocessing as one a step.

    Raises
    ------
    BundleError
        A graph is missing or damaged.
    """
    work = {PREPARE_STAGE: Work(len(contract.preprocess), _bytes(contract.inputs), 0)}
    for index, segment in enumerate(contract.segments):
        work[segment_stage(index)] = graph_work(directory, segment.graph)
    if contract.postprocess is not None:
        last = segment_stage(len(contract.segments) - 1)
        after = graph_work(directory, contract.postprocess.graph)
        work[last] = _sum(work[last], after)
    for run in fused:
        work[fused_stage(run.first, run.stop)] = graph_work(directory, run.graph)
    for head in exits:
        work[exit_stage(head.id)] = graph_work(directory, head.graph)
    for path in contract.paths:
        (hop,) = path.hops
        codec = Work(len(hop.tensors), _bytes(hop.tensors), 0)
        before, after = (
            NOTHING if ref is None else graph_work(directory, ref)
            for ref in (hop.encoder, hop.decoder)
        )
        for level in range(len(path.levels)):
            work[encode_stage(path.id, level)] = _sum(before, codec)
            work[decode_stage(path.id, level)] = _sum(codec, after)
    return work


def extra_bytes(directory: Path, contract: Contract) -> dict[str, int]:
    """Return for each learned path the size of its files that no segment needs."""
    shared = {name for segment in contract.segments for name in segment.graph.files}
    sizes = {}
    for path in contract.paths:
        if path.kind == "learned":
            coders = [ref for hop in path.hops for ref in (hop.encoder, hop.decoder)]
            own = {name for ref in coders if ref is not None for name in ref.files} - shared
            sizes[path.id] = sum(bundle_file(directory, name).stat().st_size for name in own)
    return sizes


def graph_work(directory: Path, ref: GraphRef) -> Work:
    """Return the work of one graph; a dimension that only running it would tell counts as 1."""
    file = bundle_file(directory, ref.file)
    try:
        model = onnx.load(file, load_external_data=False)
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception as error:  # protobuf and onnx raise classes of their own that share no base
        raise BundleError(f"{file} is no ONNX graph ({error}); build the bundle again") from error
    sizes = {
        port.name: _port_bytes(port)
        for port in (*graph.input, *graph.value_info, *graph.output)
        if port.type.HasField("tensor_type")
    }
    touched = (name for node in graph.node for name in (*node.input, *node.output))
    return Work(
        operators=len(graph.node),
        moved_bytes=sum(sizes.get(name, 0) for name in touched),
        weight_bytes=sum(map(_weight_bytes, graph.initializer)),
    )


def _port_bytes(port: onnx.ValueInfoProto) -> int:
    tensor = port.type.tensor_type
    return _size(tensor.elem_type) * int(prod(d.dim_value or 1 for d in tensor.shape.dim))


def _weight_bytes(weight: onnx.TensorProto) -> int:
    return _size(weight.data_type) * int(prod(weight.dims))


def _size(kind: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _bytes(specs: Sequence[TensorSpec]) -> int:
    ones = {dim: 1 for spec in specs for dim in spec.dims if isinstance(dim, str)}
    return sum(prod(spec.shape(1, ones)) * DTYPE_BYTES[spec.dtype] for spec in specs)


def _sum(a: Work, b: Work) -> Work:
    return Work(
        a.operators + b.operators, a.moved_bytes + b.moved_bytes, a.weight_bytes + b.weight_bytes
    )
