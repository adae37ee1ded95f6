"""Samples with one input and with several, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.errors import TensorMismatchError
from splitnet.runtime.inputs import Sample, prepare_inputs
from splitnet.values import TensorSpec

IMAGE = TensorSpec("image", "float32", ("N", 1, 2, 3))
MARKS = TensorSpec("marks", "int64", ("N", "T"))
STEPS = ({"op": "scale", "by": 255.0}, {"op": "layout", "to": "CHW"})

X: NDArray[Any] = np.full((2, 3), 51, np.uint8)
T: NDArray[Any] = np.arange(4)


@pytest.mark.parametrize(
    "sample",
    [{"image": X, "marks": T}, {"marks": T, "image": X}, {"x": X, "x1": T}],
    ids=["by name", "in any order", "by order"],
)
def test_the_first_input_is_preprocessed_and_all_get_a_batch(sample: Sample) -> None:
    image, marks = prepare_inputs(sample, STEPS, [IMAGE, MARKS])
    assert image.shape == (1, 1, 2, 3) and image.dtype == np.float32
    assert image[0, 0, 0, 0] == pytest.approx(0.2)
    assert marks.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("sample", [X, {"image": X}, {"x": X}])
def test_one_input_is_an_array_or_a_mapping(sample: Sample) -> None:
    (image,) = prepare_inputs(sample, STEPS, [IMAGE])
    assert image.shape == (1, 1, 2, 3)


def test_names_like_those_by_order_are_names_first() -> None:
    """A network whose inputs are called x1 and x anyway."""
    specs = [TensorSpec("x1", "int64", ("N", "T")), TensorSpec("x", "uint8", ("N", 2, 3))]
    found = prepare_inputs({"x": X, "x1": T}, (), specs)
    assert [tensor.dtype.name for tensor in found] == ["int64", "uint8"]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (X, "is one array, .* 'image', 'marks', or by order x, x1: give each by its name"),
        ({"image": X}, "no input 'marks', only 'image'; the network takes 'image', 'marks'"),
        ({}, "no input 'image', only none"),
        ({"image": X, "mask": T}, "no input 'marks', only 'image', 'mask'"),
        ({"image": X, "marks": T, "more": T}, "an unknown input 'more'; the network takes 'image'"),
        ({"image": X, "marks": [1, 2]}, "the input 'marks' is of type list"),
        ({"image": X, "marks": T.astype(float)}, "'marks' is float64, int64 is needed"),
        ({"image": X, "marks": T[None]}, r"'marks' has shape \(1, 1, 4\), \('N', 'T'\) is needed"),
        ({"image": X[:, :2], "marks": T}, r"'image' has shape \(1, 1, 2, 2\)"),
    ],
)
def test_what_is_wrong_is_named(sample: Any, message: str) -> None:
    with pytest.raises(TensorMismatchError, match=message):
        prepare_inputs(sample, STEPS, [IMAGE, MARKS])
