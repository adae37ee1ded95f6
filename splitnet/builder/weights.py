"""The content of weights, wherever it lies, and models written to disk without size limits.

A protobuf message ends at 2 GB, so large weights stay outside of messages: mapped from the file in
which they came, and written beside the graph.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import external_data_helper, numpy_helper

from splitnet.errors import ModelError

OUTSIDE_BYTES = 1024
"""Smaller weights stay in the graph file: onnxruntime must see shapes and axes while it loads."""

ALIGNMENT = 64
"""A cache line, so that weights can be mapped into memory as they are."""


Weights: TypeAlias = Mapping[str, onnx.TensorProto]
"""Weights by name; the content may lie outside (see `weight_array`)."""


def weight_array(weight: onnx.TensorProto) -> NDArray[Any]:
    """Return the content of a weight; one that lies outside is mapped, not read.

    Raises
    ------
    ModelError
        The file that holds it is missing or too short.
    """
    if not external_data_helper.uses_external_data(weight):
        return np.asarray(numpy_helper.to_array(weight))
    place = _place(weight)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)
    shape = tuple(weight.dims)
    if 0 in shape:
        return np.empty(shape, dtype)
    try:
        return np.memmap(place.location, dtype, "r", place.offset or 0, shape)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the weight {weight.name!r} cannot be read from {place.location} ({error}): copy the "
            "model's data files together with it"
        ) from error


def weight_bytes(weight: onnx.TensorProto) -> memoryview:
    """Return the content of a weight as it is stored, without a copy where none is needed."""
    return np.ascontiguousarray(weight_array(weight)).reshape(-1).view(np.uint8).data


def anchor_weights(model: onnx.ModelProto, folder: Path) -> None:
    """Make the places of outside weights absolute, so that the model may leave `folder`."""
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = str(folder.resolve() / entry.value)


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model of any size; `model` is left as it is."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    with path.with_suffix(".data").open("wb") as file:
        add, links = light.graph.initializer.add, dict[str, str]()
        for weight in model.graph.initializer:
            if external_data_helper.uses_external_data(weight):
                add().CopyFrom(weight)
                _relink(light.graph.initializer[-1], path.parent, links)
            elif weight.data_type == onnx.TensorProto.STRING:
                add().CopyFrom(weight)
            else:
                append_weight(weight, add(), path.with_suffix(".data").name, file, file.write)
    path.write_bytes(light.SerializeToString(deterministic=True))


def append_weight(
    weight: onnx.TensorProto,
    stored: onnx.TensorProto,
    location: str,
    file: BinaryIO,
    write: Callable[[bytes | memoryview], object],
) -> None:
    """Fill `stored` with `weight`: inline if it is small, else as a reference into `file`.

    Parameters
    ----------
    location
        Name of `file` as the model sees it.
    write
        Appends to `file`; it may hash what it writes.
    """
    stored.name, stored.data_type = weight.name, weight.data_type
    stored.dims.extend(weight.dims)
    content = weight_bytes(weight)
    if len(content) < OUTSIDE_BYTES:
        stored.raw_data = bytes(content)
        return
    write(bytes(-file.tell() % ALIGNMENT))
    refer(stored, location, file.tell(), len(content))
    write(content)


def refer(stored: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    """Say in `stored` where its content lies."""
    stored.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        stored.external_data.add(key=key, value=str(value))


def _place(weight: onnx.TensorProto) -> external_data_helper.ExternalDataInfo:
    return external_data_helper.ExternalDataInfo(weight)


def _relink(weight: onnx.TensorProto, folder: Path, links: dict[str, str]) -> None:
    """Bring the file of a weight into `folder`: onnxruntime follows no way out of it."""
    (entry,) = (e for e in weight.external_data if e.key == "location")
    if entry.value not in links:
        name = f"outside-{len(links)}.data"
        try:
            os.link(entry.value, folder / name)
        except OSError:  # another file system
            shutil.copyfile(entry.value, folder / name)
        links[entry.value] = name
    entry.value = links[entry.value]
