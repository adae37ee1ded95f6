"""Reading of ONNX files from any framework: checked, converted, with a free batch dimension."""

from __future__ import annotations

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
from splitnet.builder.probing import compute_all
from splitnet.builder.reasons import first_line
from splitnet.errors import ConfigError, ModelError


def read_onnx(path: Path, example: NDArray[Any]) -> onnx.ModelProto:
    """Read a model with one input and one output and free its batch dimension.

    A graph exported for one sample has the batch size 1 in its declarations and in the targets of
    ``Reshape``. Both are rewritten; whether that was right is for the caller to prove by a run.

    Parameters
    ----------
    example
        One sample with its batch dimension, ``(1, ...)``.

    Raises
    ------
    ConfigError
        There is no such file.
    ModelError
        The file is truncated or invalid, has several inputs or outputs, or another input shape.
    """
    model = _checked(path)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    model = _with_opset(model, path)
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    for end, ports in (("input", inputs), ("output", list(model.graph.output))):
        if len(ports) != 1:
            names = ", ".join(port.name for port in ports)
            raise ModelError(f"{path} has {len(ports)} {end}s ({names}); exactly one is supported")
    _check_example(path, inputs[0], example)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    del model.graph.value_info[:]
    dims = inputs[0].type.tensor_type.shape.dim
    if dims and dims[0].dim_value == 1:
        _free_batch(model, example)
    return model


def _checked(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ConfigError(f"no model file {path}")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is truncated or not a valid ONNX model ({first_line(error)}): "
            "export or copy it again"
        ) from error
    return model


def _with_opset(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if version <= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError and whatever its adapters do
        raise ModelError(
            f"{path} uses operator set {version} and cannot be converted to {OPSET} "
            f"({first_line(error)}): export it with opset {OPSET}"
        ) from error


def _check_example(path: Path, port: onnx.ValueInfoProto, example: NDArray[Any]) -> None:
    """Refuse an example that cannot be an input, before onnxruntime says it less clearly."""
    kind = port.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    dims = [d.dim_value or d.dim_param or "?" for d in kind.shape.dim]
    fits = len(dims) == example.ndim and all(
        not isinstance(d, int) or d == size for d, size in zip(dims, example.shape, strict=False)
    )
    if dtype != example.dtype or (dims and not fits):
        raise ModelError(
            f"{path} takes {dtype}{dims} but the prepared data is "
            f"{example.dtype}{list(example.shape)}: change the preprocessing"
        )


def _free_batch(model: onnx.ModelProto, example: NDArray[Any]) -> None:
    """Replace the batch size 1 by a dynamic one, in place."""
    (values_of,) = compute_all(model, example)
    shapes = {name: np.shape(value) for name, value in values_of.items()}
    for port in (*model.graph.input, *model.graph.output):
        dims = port.type.tensor_type.shape.dim
        if dims:
            dims[0].dim_param = "N"
    weights = {weight.name: weight for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or shapes.get(node.input[0], ())[:1] != (1,):
            continue
        target = weights.get(node.input[1])
        values = [] if target is None else numpy_helper.to_array(target).tolist()
        if values[:1] == [1] and not any(a.name == "allowzero" for a in node.attribute):
            name = f"{node.output[0]}::target"
            # A 0 stands for "as in the input".
            freed = numpy_helper.from_array(np.array([0, *values[1:]], np.int64), name)
            model.graph.initializer.append(freed)
            node.input[1] = name
