"""Postprocess graphs: what makes a small answer of a model's output, written from scratch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from splitnet.builder.graph import IR_VERSION, OPSET
from splitnet.builder.nms import check_grid, suppress
from splitnet.builder.operations import Operations
from splitnet.builder.shards import pack_weights
from splitnet.bundle import Boundary, GraphRef, Postprocess
from splitnet.bundle.postprocessing import check_postprocess_step
from splitnet.errors import BundleError, ConfigError, ModelError
from splitnet.values import TensorSpec

POSTPROCESS_FILE = "postprocess.onnx"

NMS_DEFAULTS: Mapping[str, Any] = {"score": 0.3, "iou": 0.45, "max": 100, "boxes": "yolox"}
"""Thresholds of YOLOX's own demonstration."""


def parse_postprocess(text: str) -> Mapping[str, Any]:
    """Return the step that the command line's form describes.

    Examples
    --------
    >>> parse_postprocess("top-k=5")
    {'op': 'top-k', 'k': 5}
    >>> parse_postprocess("nms=score:0.25,max:50")
    {'op': 'nms', 'score': 0.25, 'iou': 0.45, 'max': 50, 'boxes': 'yolox'}

    Raises
    ------
    ConfigError
        An unknown step, or a value that it does not take.
    """
    op, _, rest = text.partition("=")
    step: dict[str, Any] = {"op": op}
    if op == "nms":
        step |= NMS_DEFAULTS
        for item in filter(None, rest.split(",")):
            key, _, value = item.partition(":")
            step[key] = _value(value)
    elif rest:
        step["k"] = _value(rest)
    try:
        check_postprocess_step(step, "--postprocess")
    except BundleError as error:
        raise ConfigError(f"{error} (in {text!r})") from None
    return step


def check_fit(
    step: Mapping[str, Any], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Check that `step` can follow a model with these inputs and outputs.

    Raises
    ------
    ModelError
        It cannot; the message names the shape that is needed.
    """
    op, output = step["op"], outputs[0]
    form = f"the model gives {len(outputs)} outputs, the first {output.dtype}{list(output.dims)}"
    if len(outputs) > 1 or output.dtype != "float32":
        raise ModelError(f"--postprocess {op}: {form}; a single one of float32 is needed")
    rank, last = len(output.dims), output.dims[-1]
    if rank not in (2, 3) or not isinstance(last, int):
        raise ModelError(
            f"--postprocess {op}: {form}; (N, classes) or (N, labels, classes) is needed"
        )
    if op == "top-k" and step["k"] > last:
        raise ModelError(f"--postprocess top-k={step['k']}: the model knows {last} classes")
    if op == "nms":
        _check_boxes(step, inputs[0], output)


def write_postprocess(
    step: Mapping[str, Any], boundaries: Sequence[Boundary], out: Path
) -> Postprocess:
    """Write the graph of a step that fits the outer two of `boundaries` below `out`.

    Raises
    ------
    ModelError
        It does not fit (see `check_fit`).
    """
    inputs, (output, *_) = boundaries[0].tensors, boundaries[-1].tensors
    check_fit(step, inputs, boundaries[-1].tensors)
    operations = Operations()
    shape = output.dims[:-1]
    if step["op"] == "nms":
        height, width = inputs[0].dims[2:]
        assert isinstance(height, int) and isinstance(width, int), "checked by _check_boxes"
        suppress(operations, output.name, output.dims, (height, width), step)
        tensors = [TensorSpec("boxes", "float32", ("N", step["max"], 6))]
    elif step["op"] == "top-k":
        chances = operations.add("Softmax", [output.name], axis=-1)
        count = operations.integers([step["k"]])
        operations.emit("TopK", [chances, count], ["probabilities", "order"], axis=-1)
        operations.emit("Cast", ["order"], ["labels"], to=onnx.TensorProto.INT32)
        dims = (*shape, step["k"])
        tensors = [
            TensorSpec("labels", "int32", dims),
            TensorSpec("probabilities", "float32", dims),
        ]
    else:
        operations.emit("Softmax", [output.name], ["probabilities"], axis=-1)
        tensors = [TensorSpec("probabilities", "float32", output.dims)]
    return Postprocess(step, _write(operations, output, tensors, out), tuple(tensors))


def _check_boxes(step: Mapping[str, Any], source: TensorSpec, output: TensorSpec) -> None:
    static = all(isinstance(size, int) for size in (*source.dims[1:], *output.dims[1:]))
    if len(source.dims) != 4 or len(output.dims) != 3 or not static or int(output.dims[2]) < 6:
        raise ModelError(
            f"--postprocess nms: the model makes {list(output.dims)} of {list(source.dims)}; "
            "(N, boxes, 5 + classes) of images (N, channels, height, width) is needed"
        )
    if step["boxes"] == "yolox":
        check_grid(int(output.dims[1]), (int(source.dims[2]), int(source.dims[3])))


def _write(
    operations: Operations, output: TensorSpec, tensors: Sequence[TensorSpec], out: Path
) -> GraphRef:
    weights, shards = pack_weights(operations.weights, out)
    ports = [
        helper.make_tensor_value_info(
            spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.dims
        )
        for spec in (output, *tensors)
    ]
    graph = helper.make_graph(
        operations.nodes, "postprocess", ports[:1], ports[1:], list(weights.values())
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="splitnet",
    )
    data = model.SerializeToString(deterministic=True)
    (out / POSTPROCESS_FILE).write_bytes(data)
    return GraphRef(POSTPROCESS_FILE, hashlib.sha256(data).hexdigest(), shards)


def _value(text: str) -> Any:
    """Return the number that `text` is, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
