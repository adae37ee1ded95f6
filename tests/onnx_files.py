"""Small ONNX files, written field by field: device rooms are tested without the onnx package.

Field numbers are those of onnx.proto (ONNX 1.14); ``ir_version`` 8 and opset 17 load everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Dims: TypeAlias = Sequence[int | str]
Attributes: TypeAlias = Mapping[str, int | Sequence[int]]

ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int64": 7, "float64": 11}
EXTERNAL = 1
INT, INTS = 2, 7


@dataclass(frozen=True)
class Node:
    """One operator: ``Node("Relu", ["x"], ["y"])``."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """An input or output of a graph; the first dimension is usually ``"N"``."""

    name: str
    dims: Dims
    dtype: str = "float32"


def write_onnx(
    path: Path,
    nodes: Sequence[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    weights: Mapping[str, NDArray[Any]] | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Write a graph and a shard with its weights; return both hashes as a contract names them."""
    shard = b"".join(array.tobytes() for array in (weights or {}).values())
    shards: tuple[str, ...] = ()
    if weights:
        shards = (hashlib.sha256(shard).hexdigest(),)
        (path.parent / "shards").mkdir(exist_ok=True)
        (path.parent / "shards" / shards[0]).write_bytes(shard)
    graph = b"".join(_bytes(1, _node(node)) for node in nodes) + _bytes(2, b"graph")
    offset = 0
    for name, array in (weights or {}).items():
        graph += _bytes(5, _external_tensor(name, array, f"shards/{shards[0]}", offset))
        offset += array.nbytes
    graph += b"".join(_bytes(11, _value(value)) for value in inputs)
    graph += b"".join(_bytes(12, _value(value)) for value in outputs)
    model = _int(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _int(2, 17))
    path.write_bytes(model)
    return hashlib.sha256(model).hexdigest(), shards


def _node(node: Node) -> bytes:
    data = b"".join(_bytes(1, name.encode()) for name in node.inputs)
    data += b"".join(_bytes(2, name.encode()) for name in node.outputs)
    data += _bytes(4, node.op.encode())
    for name, value in node.attributes.items():
        attribute = _bytes(1, name.encode())
        if isinstance(value, int):
            attribute += _int(3, value) + _int(20, INT)
        else:
            attribute += b"".join(_int(8, item) for item in value) + _int(20, INTS)
        data += _bytes(5, attribute)
    return data


def _external_tensor(name: str, array: NDArray[Any], location: str, offset: int) -> bytes:
    where = {"location": location, "offset": str(offset), "length": str(array.nbytes)}
    data = b"".join(_int(1, size) for size in array.shape)
    data += _int(2, ELEMENT_TYPES[array.dtype.name]) + _bytes(8, name.encode())
    for key, value in where.items():
        data += _bytes(13, _bytes(1, key.encode()) + _bytes(2, value.encode()))
    return data + _int(14, EXTERNAL)


def _value(value: Value) -> bytes:
    dims = (_bytes(2, d.encode()) if isinstance(d, str) else _int(1, d) for d in value.dims)
    shape = b"".join(_bytes(1, dim) for dim in dims)
    tensor = _int(1, ELEMENT_TYPES[value.dtype]) + _bytes(2, shape)
    return _bytes(1, value.name.encode()) + _bytes(2, _bytes(1, tensor))


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def weights(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, NDArray[np.float32]]:
    """Return random weights of sensible size, by name."""
    random = np.random.default_rng(seed)
    scale = {name: 1.0 / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    return {n: random.normal(0, scale[n], shapes[n]).astype(np.float32) for n in shapes}
