"""Heads in whole numbers: the front of a network at 8 bits, up to each of its boundaries.

The network up to its last boundary is quantised once (QDQ form, a scale for each channel of the
weights, ranges of activations from calibration data); the heads of the other boundaries are parts
of it. So all heads share their weights, one shard a segment.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnx import helper
from onnxruntime import quantization

from splitnet.builder.graph import IR_VERSION, OPSET
from splitnet.builder.reasons import first_line
from splitnet.builder.segments import Exported, GraphFile
from splitnet.builder.shards import pack_weights
from splitnet.builder.static_work import graph_work
from splitnet.bundle import GraphRef
from splitnet.errors import ModelError
from splitnet.values import TensorSpec

CALIBRATION_SAMPLES = 128
"""Most samples that tell the ranges of activations; more of them change the ranges little."""

FEWEST_SAMPLES = 8

CALIBRATION_BYTES = 2 << 30
"""Bound on what the operators read and write for all samples: calibration keeps a part of it."""

QUANTISED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that 8 bits make faster; a head without one only loses accuracy."""

PER_CHANNEL_OPSET = 13
"""First operator set in which quantisation knows a scale for each channel."""

PATH_PREFIX = "int8-"
"""The path of a head is named so, and then like the exact path of its boundary."""

Inputs: TypeAlias = Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Int8Head:
    """The file of a head, and the boundary at which it ends."""

    boundary: int
    file: GraphFile


@dataclass(frozen=True, slots=True)
class _Stored:
    """A weight as it stands in a file, and the shard that it reads if it is a large one."""

    tensor: onnx.TensorProto
    shards: tuple[str, ...]


def quantise_heads(
    exported: Exported, samples: Iterable[Inputs], folder: Path
) -> tuple[Int8Head, ...]:
    """Write ``encoder-int8-<n>.onnx`` for the interior boundaries ``n`` that can have one.

    Parameters
    ----------
    exported
        The cut model, with the fused run up to its last interior boundary.
    samples
        Prepared inputs of calibration data, one sample after the other.

    Raises
    ------
    ModelError
        The network cannot be quantised; the message says why.
    """
    last = len(exported.segments) - 1
    if not last:
        raise ModelError("--int8-heads: the model has no interior boundary; give --cuts")
    source = exported.segments[0] if last == 1 else exported.fused[0, last]
    ends = [spec for b in exported.boundaries[1 : last + 1] for spec in b.tensors]
    model = _quantised(onnx.load(folder / source.ref.file), ends, samples)
    stored: dict[str, _Stored] = {}
    heads = []
    for boundary in range(1, last + 1):
        names = [spec.name for spec in exported.boundaries[boundary].tensors]
        nodes = _before(model.graph.node, names)
        if any(node.op_type in QUANTISED for node in nodes):
            weights = _used_weights(model, nodes, stored, folder)
            file = _write(exported, boundary, model, nodes, weights, folder)
            heads.append(Int8Head(boundary, file))
    if not heads:
        raise ModelError(
            "--int8-heads: nothing in front of the last boundary can be quantised, there is no "
            f"{', '.join(QUANTISED)}; build without --int8-heads"
        )
    return tuple(heads)


def calibration_count(exported: Exported, folder: Path, available: int) -> int:
    """Return how many of the available samples calibration should look at."""
    moved = sum(graph_work(folder, file.ref).moved_bytes for file in exported.segments)
    affordable = max(FEWEST_SAMPLES, CALIBRATION_BYTES // max(1, moved))
    return min(available, CALIBRATION_SAMPLES, affordable)


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands samples to onnxruntime, one a call: histograms take no batches of two sizes."""

    def __init__(self, names: Sequence[str], samples: Iterable[Inputs]) -> None:
        self._names = names
        self._samples = iter(samples)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        inputs = next(self._samples, None)
        return None if inputs is None else dict(zip(self._names, inputs, strict=True))


def _quantised(
    model: onnx.ModelProto, ends: Sequence[TensorSpec], samples: Iterable[Inputs]
) -> onnx.ModelProto:
    """Return `model` at 8 bits with `ends` among its outputs, so that they keep their names."""
    with _named_refusals():
        if any(o.domain == "" and o.version < PER_CHANNEL_OPSET for o in model.opset_import):
            model = onnx.version_converter.convert_version(model, OPSET)
        del model.graph.output[:]
        model.graph.output.extend(map(_port, ends))
        reader = _Reader([port.name for port in model.graph.input], samples)
        with TemporaryDirectory() as place, _without_advice():
            file = Path(place) / "model.onnx"
            quantization.quantize_static(
                model,
                file,
                reader,
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.Percentile,
            )
            return onnx.load(file)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep onnxruntime from printing, and from asking for what these graphs have behind them."""

    def concerns_us(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    logger = logging.getLogger()
    logger.addFilter(concerns_us)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.removeFilter(concerns_us)


@contextmanager
def _named_refusals() -> Iterator[None]:
    """Turn what onnx and onnxruntime raise, classes without a common base, into one line."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"--int8-heads: this model cannot be quantised ({first_line(error)}); build without "
            "--int8-heads"
        ) from error


def _before(nodes: Sequence[onnx.NodeProto], ends: Iterable[str]) -> list[onnx.NodeProto]:
    """Return the operators that `ends` need, in their order."""
    needed, found = set(ends), []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]


def _used_weights(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    stored: dict[str, _Stored],
    folder: Path,
) -> list[_Stored]:
    """Return the weights of `nodes`; those that no head had before come into a new shard."""
    used = {name for node in nodes for name in node.input}
    weights = [weight for weight in model.graph.initializer if weight.name in used]
    new, shards = pack_weights((w for w in weights if w.name not in stored), folder)
    for name, tensor in new.items():
        stored[name] = _Stored(tensor, shards if tensor.external_data else ())
    return [stored[weight.name] for weight in weights]


def _write(
    exported: Exported,
    boundary: int,
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[_Stored],
    folder: Path,
) -> GraphFile:
    inputs, outputs = (exported.boundaries[i].tensors for i in (0, boundary))
    name = f"encoder-int8-{boundary}"
    first, last = ([_port(spec) for spec in specs] for specs in (inputs, outputs))
    domains = {node.domain for node in nodes}
    head = helper.make_model(
        helper.make_graph(nodes, name, first, last, [weight.tensor for weight in weights]),
        opset_imports=[o for o in model.opset_import if o.domain in domains],
        ir_version=IR_VERSION,
        producer_name="splitnet",
    )
    data = head.SerializeToString(deterministic=True)
    (folder / f"{name}.onnx").write_bytes(data)
    shards = tuple(dict.fromkeys(shard for weight in weights for shard in weight.shards))
    ref = GraphRef(f"{name}.onnx", hashlib.sha256(data).hexdigest(), shards)
    work = Counter[str]()
    for segment in exported.segments[:boundary]:
        work.update({kind: share * segment.flops for kind, share in segment.costs.items()})
    total = sum(work.values())
    costs = {kind: flops / total for kind, flops in work.items()} if total else {"other": 1.0}
    return GraphFile(ref, inputs, outputs, round(total), costs)


def _port(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.dims)
