"""Boxes of a detector's raw output as ONNX operators: decoding, and suppression of doubles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from splitnet.builder.operations import Operations
from splitnet.errors import ModelError

STRIDES = (8, 16, 32)
"""Pixels between neighbouring boxes in each of YOLOX's three grids, in their order."""

_SIDES, _FOUND = 4, 5
"""Columns of a raw box: centre and size; then the chance that there is one; then the classes."""


def yolox_grid(image: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return for each box of YOLOX the column and row of its cell (B, 2), and its stride (B, 1)."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: image[0] // stride, : image[1] // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return (
        np.concatenate(cells).astype(np.float32),
        np.concatenate(strides).astype(np.float32),
    )


def check_grid(count: int, image: tuple[int, int]) -> None:
    """Raise `ModelError` unless YOLOX makes `count` boxes of such an image."""
    expected = len(yolox_grid(image)[0])
    if count != expected:
        raise ModelError(
            f"--postprocess nms: the model makes {count} boxes of {image[0]}x{image[1]} pixels, "
            f"YOLOX makes {expected}; give boxes:centre if they are centre and size in pixels"
        )


def suppress(
    operations: Operations,
    raw: str,
    dims: Sequence[int | str],
    image: tuple[int, int],
    step: Mapping[str, Any],
) -> None:
    """Append what makes ``boxes`` (N, M, 6) of the tensor `raw` (N, B, 5 + classes).

    A box counts for its likeliest class, with the product of both chances as its score. Boxes of
    different classes do not suppress each other. Rows behind those found are 0.

    Parameters
    ----------
    image
        Height and width of the image in pixels; boxes end at its border.
    step
        The step ``nms`` of the contract.
    """
    ops = operations
    corners = _corners(ops, raw, image, step["boxes"])
    classes = ops.part(raw, _FOUND, int(dims[2]), 2)
    best = ops.add("ReduceMax", [classes, ops.integers([2])], keepdims=1)
    label = ops.add("ArgMax", [classes], axis=2, keepdims=1)
    label = ops.add("Cast", [label], to=onnx.TensorProto.FLOAT)
    score = ops.add("Mul", [ops.part(raw, _SIDES, _FOUND, 2), best])
    every = ops.add("Concat", [corners, score, label], axis=2)
    # A place of its own for each class: one pass suppresses within classes only.
    shift = ops.add("Mul", [label, ops.floats(max(image) + 1.0)])
    selected = ops.add(
        "NonMaxSuppression",
        [
            ops.add("Add", [corners, shift]),
            ops.add("Transpose", [score], perm=[0, 2, 1]),
            ops.integers([step["max"]]),
            ops.floats([step["iou"]]),
            ops.floats([step["score"]]),
        ],
    )
    _place(ops, raw, every, selected, step["max"])


def _corners(ops: Operations, raw: str, image: tuple[int, int], form: str) -> str:
    """Return left, top, right and bottom of all boxes (N, B, 4) in pixels, within the image."""
    centre, size = ops.part(raw, 0, 2, 2), ops.part(raw, 2, _SIDES, 2)
    if form == "yolox":
        grid, stride = (ops.floats(values) for values in yolox_grid(image))
        centre = ops.add("Mul", [ops.add("Add", [centre, grid]), stride])
        size = ops.add("Mul", [ops.add("Exp", [size]), stride])
    half = ops.add("Mul", [size, ops.floats(0.5)])
    border, zero = ops.floats([image[1], image[0]]), ops.floats(0.0)
    ends = [ops.add(op, [centre, half]) for op in ("Sub", "Add")]
    inside = [ops.add("Max", [ops.add("Min", [end, border]), zero]) for end in ends]
    return ops.add("Concat", inside, axis=2)


def _place(ops: Operations, raw: str, every: str, selected: str, most: int) -> None:
    """Write the selected rows (sample, class, box) of `every` one below the other, by sample."""
    sample, box = ops.part(selected, 0, 1, 1), ops.part(selected, 2, 3, 1)
    rows = ops.add("GatherND", [every, ops.add("Concat", [sample, box], axis=1)])
    batch = _size(ops, raw)
    numbers = _range(ops, ops.add("Squeeze", [batch]))
    earlier = ops.add("Cast", [ops.add("Less", [sample, numbers])], to=onnx.TensorProto.INT64)
    start = ops.add("ReduceSum", [earlier, ops.integers([0])], keepdims=0)
    number = _range(ops, ops.add("Squeeze", [_size(ops, selected)]))
    place = ops.add("Unsqueeze", [number, ops.integers([1])])
    place = ops.add("Sub", [place, ops.add("Gather", [start, sample])])
    shape = ops.add("Concat", [batch, ops.integers([most, 6])], axis=0)
    nothing = ops.add("Expand", [ops.floats(0.0), shape])
    at = ops.add("Concat", [sample, place], axis=1)
    ops.emit("ScatterND", [nothing, at, rows], ["boxes"])


def _size(ops: Operations, tensor: str) -> str:
    """Return the first dimension, as one number in a list."""
    return ops.part(ops.add("Shape", [tensor]), 0, 1, 0)


def _range(ops: Operations, count: str) -> str:
    """Return 0, 1, 2, ... up to `count`, which has no dimension."""
    return ops.add("Range", [ops.integers(0), count, ops.integers(1)])
