"""From a sample to the tensors of boundary 0: one array, or one for each input of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import TensorMismatchError
from splitnet.runtime.payloads import check_tensors
from splitnet.runtime.preprocess import prepare
from splitnet.values import TensorSpec

Array: TypeAlias = NDArray[Any]

Sample: TypeAlias = "Array | Mapping[str, Array]"
"""One array, or one for each input by its name, without a batch dimension."""


def positional_names(count: int) -> list[str]:
    """Return names for inputs by their order: ``x``, ``x1``, ``x2``, ..."""
    return [f"x{number}" if number else "x" for number in range(count)]


def arrange(sample: Sample, names: Sequence[str]) -> list[Array]:
    """Return the arrays of a sample in the order of the inputs `names`.

    A mapping with the names ``x``, ``x1``, ... gives the inputs by their order.

    Raises
    ------
    TensorMismatchError
        An input is missing or not known, or no array; the message names it.
    """
    given = sample if isinstance(sample, Mapping) else {"x": sample}
    by_order = positional_names(len(names))
    takes = f"the network takes {', '.join(map(repr, names))}, or by order {', '.join(by_order)}"
    if not isinstance(sample, Mapping) and len(names) > 1:
        raise TensorMismatchError(f"the sample is one array, {takes}: give each by its name")
    if given.keys() == set(by_order) != set(names):
        names = by_order
    for name in names:
        if name not in given:
            has = ", ".join(map(repr, given)) or "none"
            raise TensorMismatchError(f"the sample has no input {name!r}, only {has}; {takes}")
    for name, array in given.items():
        if name not in names:
            raise TensorMismatchError(f"the sample has an unknown input {name!r}; {takes}")
        if not isinstance(array, np.ndarray):
            raise TensorMismatchError(
                f"the input {name!r} is of type {type(array).__name__}, a numpy array is needed"
            )
    return [given[name] for name in names]


def with_batch(arrays: Sequence[Array], steps: Sequence[Mapping[str, Any]]) -> list[Array]:
    """Return the arrays of one sample as a batch of 1, the first one after the steps.

    Raises
    ------
    TensorMismatchError
        A step cannot work on the first array.
    """
    first, *more = arrays
    return [prepare(first, steps), *(np.ascontiguousarray(array)[np.newaxis] for array in more)]


def prepare_inputs(
    sample: Sample, steps: Sequence[Mapping[str, Any]], specs: Sequence[TensorSpec]
) -> list[Array]:
    """Return the tensors of boundary 0, ``(1, ...)`` each; the steps are for the first input.

    Raises
    ------
    TensorMismatchError
        An input is missing, unknown, or of a wrong dtype or shape; the message names it.
    """
    tensors = with_batch(arrange(sample, [spec.name for spec in specs]), steps)
    check_tensors(specs, tensors, "the prepared sample")
    return tensors
