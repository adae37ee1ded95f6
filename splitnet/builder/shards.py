"""Weights of a graph, packed into one file named by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from onnx import numpy_helper

INLINE_BYTES = 1024
"""Smaller weights stay in the graph file: onnxruntime must see shapes and axes while it loads."""

ALIGNMENT = 64
"""A cache line, so that weights can be mapped into memory as they are."""

FOLDER = "shards"


def pack_weights(
    weights: Iterable[onnx.TensorProto], out: Path
) -> tuple[Mapping[str, onnx.TensorProto], tuple[str, ...]]:
    """Write the large ones of `weights` into one shard below `out`.

    Returns
    -------
    tensors
        The weights by name, inline or as references into the shard.
    shards
        The hash of the shard, or nothing if all weights are small.
    """
    packed = bytearray()
    tensors: dict[str, onnx.TensorProto] = {}
    outside: list[tuple[onnx.TensorProto, int, int]] = []
    for weight in weights:
        tensors[weight.name] = tensor = onnx.TensorProto(
            name=weight.name, data_type=weight.data_type, dims=weight.dims
        )
        if weight.data_type == onnx.TensorProto.STRING:
            tensor.string_data.extend(weight.string_data)
            continue
        raw = numpy_helper.to_array(weight).tobytes()
        if len(raw) < INLINE_BYTES:
            tensor.raw_data = raw
            continue
        packed.extend(bytes(-len(packed) % ALIGNMENT))
        outside.append((tensor, len(packed), len(raw)))
        packed.extend(raw)
    if not outside:
        return tensors, ()
    sha256 = hashlib.sha256(packed).hexdigest()
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    (out / FOLDER / sha256).write_bytes(packed)
    for tensor, offset, length in outside:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        place = {"location": f"{FOLDER}/{sha256}", "offset": offset, "length": length}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
    return tensors, (sha256,)
