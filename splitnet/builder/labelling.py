"""Whether a model answers with labels, and whether those of the data are of that kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitnet.builder.data import Dataset
from splitnet.errors import ConfigError, ModelError
from splitnet.runtime.reading import output_form
from splitnet.values import TensorSpec

BOX_VALUES = 5
"""Values of a raw box in front of its classes: four of its place, and the chance of an object."""


def has_labels(outputs: Sequence[TensorSpec], step: Mapping[str, Any] | None) -> bool:
    """Return whether the answers of a model are labels, with a postprocess step if there is one."""
    return output_form(outputs).labelled and (step is None or step["op"] != "nms")


def check_interest(
    interest: Sequence[int], outputs: Sequence[TensorSpec], step: Mapping[str, Any] | None
) -> None:
    """Check that the answers of a model can name what a prefilter is to let through.

    Raises
    ------
    ConfigError
        They are neither labels nor boxes, or the model knows no such label.
    """
    boxes = step is not None and step["op"] == "nms"
    if not boxes and not has_labels(outputs, step):
        raise ConfigError("--interest names labels or boxes, and this model answers with neither")
    last = outputs[0].dims[-1]
    if not isinstance(last, int):
        return
    classes = last - BOX_VALUES if boxes else last
    strange = [label for label in interest if label >= classes]
    if strange:
        raise ConfigError(
            f"--interest: the label {strange[0]} is unknown, the model knows {classes} classes, 0 "
            f"to {classes - 1}"
        )


def check_labels(data: Dataset, output: TensorSpec, step: Mapping[str, Any] | None = None) -> None:
    """Check that the labels of `data`, if it has any, are those of a network with this output.

    Raises
    ------
    ConfigError
        Another number of labels a sample, or a label out of range.
    ModelError
        The answers are no labels.
    """
    if data.y is None:
        return
    if not has_labels([output], step):
        what = "boxes" if step is not None else f"an output of the shape {output.dims}"
        raise ModelError(
            f"{data.source} has labels, and the model answers with {what}, not with (N, classes) "
            "or (N, labels, classes): give data without labels, to compare with the whole model"
        )
    dims = [size for size in output.dims[1:] if isinstance(size, int)]
    if len(dims) + 1 != len(output.dims):
        raise ModelError(
            f"the model's output has the shape {output.dims}; labels are compared with a fixed "
            "number of answers: give data without labels"
        )
    count, classes = (dims[0] if len(dims) == 2 else 1), dims[-1]
    if data.y.shape[1] != count:
        raise ConfigError(
            f"{data.source} has {data.y.shape[1]} labels a sample, the model answers with {count}"
        )
    if data.y.max() >= classes:
        row = int(data.y.max(axis=1).argmax())
        raise ConfigError(
            f"{data.name(row)} has the label {data.y.max()}, the model knows "
            f"{classes} classes, 0 to {classes - 1}"
        )
