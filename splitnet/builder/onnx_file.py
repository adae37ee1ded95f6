"""Reading of ONNX files from any framework: checked, converted, with a free batch dimension."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from splitnet.builder.graph import OPSET
from splitnet.builder.probing import open_probe
from splitnet.builder.reasons import first_line
from splitnet.builder.shapes import BATCH_NAME
from splitnet.builder.weights import anchor_weights, weight_array
from splitnet.errors import ConfigError, ModelError

OLDEST_OPSET = 7
"""Oldest operator set that onnxruntime promises to run, and the first in which tensors of
different ranks are added by one rule."""


def read_onnx(path: Path, example: Sequence[NDArray[Any]]) -> onnx.ModelProto:
    """Read a model and free its batch dimension.

    A graph exported for one sample has the batch size 1 in its declarations and in the targets of
    ``Reshape``. Both are rewritten; whether that was right is for the caller to prove by a run.

    Parameters
    ----------
    example
        One sample: each input with its batch dimension, ``(1, ...)``.

    Raises
    ------
    ConfigError
        There is no such file.
    ModelError
        The file is truncated or invalid, or takes other inputs.
    """
    model = open_onnx(path)
    _check_example(path, model.graph.input, example)
    return normalised(model, str(path), example)


def open_onnx(path: Path) -> onnx.ModelProto:
    """Read a model as it is; its ``graph.input`` holds no weights.

    Weights that lie outside the file are left there.

    Raises
    ------
    ConfigError
        There is no such file.
    ModelError
        The file is truncated or invalid.
    """
    if not path.is_file():
        raise ConfigError(f"no model file {path}")
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(str(path))
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is truncated or not a valid ONNX model ({first_line(error)}): "
            "export or copy it again"
        ) from error
    anchor_weights(model, path.parent)
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [port for port in model.graph.input if port.name not in weights]
    if not inputs or not model.graph.output:
        raise ModelError(f"{path} has {len(inputs)} inputs and {len(model.graph.output)} outputs")
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def normalised(
    model: onnx.ModelProto, source: str, example: Sequence[NDArray[Any]]
) -> onnx.ModelProto:
    """Return `model` without functions, in an operator set that a bundle may use, for any batch."""
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    model = _with_opset(model, source)
    del model.graph.value_info[:]
    _name_dimensions(model)
    if any(d and d[0].dim_value == 1 for d in map(_dims, model.graph.input)):
        _free_batch(model, example)
    return model


def _dims(port: onnx.ValueInfoProto) -> Any:
    return port.type.tensor_type.shape.dim


def _with_opset(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if OLDEST_OPSET <= version <= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError and whatever its adapters do
        changed = sorted({n.op_type for n in model.graph.node if _changed(n, version)})
        if changed or version < OPSET:
            raise ModelError(
                f"{source} uses operator set {version} and cannot be converted to {OPSET} "
                f"({first_line(error)}; {', '.join(changed) or 'no operator'} changed since): "
                f"export it with opset {OPSET}"
            ) from error
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = OPSET
    return model


def _changed(node: onnx.NodeProto, version: int) -> bool:
    """Return whether a standard operator means something else in `version` than in a bundle's."""
    if node.domain not in ("", "ai.onnx"):
        return False
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return True
    return bool(schema.since_version > OPSET)


def _name_dimensions(model: onnx.ModelProto) -> None:
    """Call the batch of every input ``N``, and other dynamic dimensions by plain names."""
    for port in model.graph.input:
        for axis, dim in enumerate(_dims(port)):
            if not axis:
                if not dim.dim_value:
                    dim.dim_param = BATCH_NAME
            elif dim.dim_param:
                name = re.sub(r"\W", "_", dim.dim_param)
                dim.dim_param = f"{name}_" if name == BATCH_NAME else name
    for port in model.graph.output:
        port.type.tensor_type.ClearField("shape")


def _check_example(
    path: Path, ports: Sequence[onnx.ValueInfoProto], example: Sequence[NDArray[Any]]
) -> None:
    """Refuse an example that cannot be an input, before onnxruntime says it less clearly."""
    if len(ports) != len(example):
        names = ", ".join(port.name for port in ports)
        raise ModelError(
            f"{path} has {len(ports)} inputs ({names}), the data has {len(example)} arrays a sample"
        )
    for port, array in zip(ports, example, strict=True):
        kind = port.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        dims = [d.dim_value or d.dim_param or "?" for d in kind.shape.dim]
        fits = len(dims) == array.ndim and all(
            not isinstance(d, int) or d == size for d, size in zip(dims, array.shape, strict=False)
        )
        if dtype != array.dtype or (dims and not fits):
            name = f" as {port.name!r}" if len(ports) > 1 else ""
            raise ModelError(
                f"{path} takes {dtype}{dims}{name} but the prepared data is "
                f"{array.dtype}{list(array.shape)}: change the preprocessing"
            )


def _free_batch(model: onnx.ModelProto, example: Sequence[NDArray[Any]]) -> None:
    """Replace the batch size 1 by a dynamic one, in place."""
    shapes = {name: np.shape(value) for name, value in open_probe(model)(example).items()}
    for port in model.graph.input:
        if _dims(port):
            _dims(port)[0].dim_param = BATCH_NAME
    weights = {weight.name: weight for weight in model.graph.initializer}
    freed: dict[str, onnx.TensorProto] = {}
    for node in model.graph.node:
        if node.op_type != "Reshape" or shapes.get(node.input[0], ())[:1] != (1,):
            continue
        target = weights.get(node.input[1])
        values = [] if target is None else weight_array(target).tolist()
        empty = any(a.name == "allowzero" and a.i for a in node.attribute) and 0 in values
        if values[:1] == [1] and not empty:
            del node.attribute[:]
            name = f"{node.output[0]}::target"
            # A 0 stands for "as in the input".
            freed[name] = numpy_helper.from_array(np.array([0, *values[1:]], np.int64), name)
            node.input[1] = name
    model.graph.initializer.extend(freed.values())
