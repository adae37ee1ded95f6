"""Files named by their hash: the weights of a graph packed into one, tables of codecs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx

from splitnet.builder.weights import append_weight

FOLDER = "shards"
_PARTIAL = ".partial"
"""Name of a shard whose hash is not known yet."""


def pack_weights(
    weights: Iterable[onnx.TensorProto], out: Path
) -> tuple[Mapping[str, onnx.TensorProto], tuple[str, ...]]:
    """Write the large ones of `weights` into one shard below `out`.

    They are written one after the other, so that the memory holds one at a time.

    Returns
    -------
    tensors
        The weights by name, inline or as references into the shard.
    shards
        The hash of the shard, or nothing if all weights are small.
    """
    tensors: dict[str, onnx.TensorProto] = {}
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    partial, digest = folder / _PARTIAL, hashlib.sha256()
    with partial.open("wb") as file:

        def write(content: bytes | memoryview) -> None:
            digest.update(content)
            file.write(content)

        for weight in weights:
            tensors[weight.name] = stored = onnx.TensorProto()
            if weight.data_type == onnx.TensorProto.STRING:
                stored.CopyFrom(weight)
            else:
                append_weight(weight, stored, "", file, write)
        written = file.tell()
    if not written:
        partial.unlink()
        return tensors, ()
    sha256 = digest.hexdigest()
    partial.replace(folder / sha256)
    for stored in tensors.values():
        for entry in stored.external_data:
            if entry.key == "location":
                entry.value = f"{FOLDER}/{sha256}"
    return tensors, (sha256,)


def write_tables(tables: Mapping[str, bytes], out: Path) -> None:
    """Write codec tables, each under its SHA-256, beside the shards below `out`."""
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for sha256, content in tables.items():
        (folder / sha256).write_bytes(content)
