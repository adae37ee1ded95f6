"""Shapes of all tensors of a graph, measured by running it rather than inferred.

A run with other sizes tells for every dimension how it grows with the number of samples and with
each dynamic dimension of the inputs. Inference gives up on many exported graphs; a run does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from splitnet.builder.probing import open_probe
from splitnet.errors import ModelError
from splitnet.values import TensorSpec

Array: TypeAlias = NDArray[Any]
Axes: TypeAlias = Mapping[int, str]
"""Names of the dynamic dimensions of one input, by axis."""

BATCH_NAME = "N"

MULTIPLES = (2, 3)
"""Sizes of a dynamic dimension, in those of the example, that tell its growth; two, since a
product of dimensions looks like a line through two points."""


@dataclass(frozen=True, slots=True)
class Extent:
    """One dimension: ``fixed`` and, for each size that it depends on, its growth.

    Attributes
    ----------
    growth
        Pairs of a name and what a unit more of it adds; ``None`` where that is no fixed number.
    """

    fixed: int
    growth: tuple[tuple[str, int | None], ...] = ()

    @property
    def linear(self) -> bool:
        """Whether the dimension follows from the sizes by whole multiples."""
        return None not in dict(self.growth).values()

    @property
    def text(self) -> str:
        """Return the dimension as people write it, for instance ``"2N+1"``."""
        terms = "+".join(("" if times == 1 else str(times)) + name for name, times in self.growth)
        return (f"{terms}{self.fixed:+d}" if self.fixed else terms).replace("+-", "-")


BATCH_EXTENT = Extent(0, ((BATCH_NAME, 1),))


@dataclass(frozen=True, slots=True)
class Measured:
    """Form of one tensor: its shape for the example, and how each dimension came about."""

    dtype: str
    shape: tuple[int, ...]
    extents: tuple[Extent, ...]

    def spec(self, name: str) -> TensorSpec:
        """Return the specification.

        A dimension that is no plain size reads like ``"2N+1"``; one that follows no such rule has
        a name of its own, so that no other is taken for its equal.
        """
        dims = (
            extent.text
            if extent.growth and extent.linear
            else f"{name}.{axis}"
            if extent.growth
            else extent.fixed
            for axis, extent in enumerate(self.extents)
        )
        return TensorSpec(name, self.dtype, tuple(dims))

    @property
    def readable(self) -> dict[str, tuple[int, int]]:
        """Sizes that a dimension shows: for each name, the axis, and what is added to it there."""
        shown: dict[str, tuple[int, int]] = {}
        for axis, extent in enumerate(self.extents):
            if len(extent.growth) == 1 and extent.growth[0][1] == 1:
                shown.setdefault(extent.growth[0][0], (axis, extent.fixed))
        return shown

    @property
    def batched(self) -> bool:
        """Whether the first dimension is the batch and no other depends on it."""
        rest = (name for extent in self.extents[1:] for name, _ in extent.growth)
        return self.extents[:1] == (BATCH_EXTENT,) and BATCH_NAME not in rest


def measure(
    model: onnx.ModelProto, example: Sequence[Array], axes: Sequence[Axes]
) -> Mapping[str, Measured]:
    """Return the form of every computed tensor of `model`, and of its inputs.

    A dynamic dimension with which the model does not run in other sizes counts as fixed.

    Parameters
    ----------
    example
        One sample: each input with its batch dimension, ``(1, ...)``.
    axes
        Dynamic dimensions of each input besides the batch.
    """
    probe = open_probe(model)
    sizes = {
        name: a.shape[i]
        for a, named in zip(example, axes, strict=True)
        for i, name in named.items()
    }
    first = _forms(probe(example))
    others: dict[str, list[Mapping[str, _Form]]] = {}
    for name in dict.fromkeys([BATCH_NAME, *sizes]):
        multiples = MULTIPLES[:1] if name == BATCH_NAME else MULTIPLES
        try:
            others[name] = [_forms(probe(_scaled(example, axes, name, k))) for k in multiples]
        except ModelError:
            if name == BATCH_NAME:
                raise
    sizes = {name: 1 if name == BATCH_NAME else sizes[name] for name in others}
    return {
        tensor: Measured(dtype, shape, extents)
        for tensor, (dtype, shape) in first.items()
        if (extents := _extents(tensor, shape, others, sizes)) is not None
    }


_Form: TypeAlias = "tuple[str, tuple[int, ...]]"


def _forms(values: Mapping[str, Any]) -> Mapping[str, _Form]:
    return {n: (str(v.dtype), v.shape) for n, v in values.items() if isinstance(v, np.ndarray)}


def _scaled(example: Sequence[Array], axes: Sequence[Axes], name: str, times: int) -> list[Array]:
    """Return the example with one of its dimensions `times` as large, its content repeated."""
    scaled = []
    for array, named in zip(example, axes, strict=True):
        grown = [axis for axis, other in {0: BATCH_NAME, **named}.items() if other == name]
        for axis in grown:
            array = np.concatenate([array] * times, axis)
        scaled.append(array)
    return scaled


def _extents(
    tensor: str,
    shape: tuple[int, ...],
    others: Mapping[str, Sequence[Mapping[str, _Form]]],
    sizes: Mapping[str, int],
) -> tuple[Extent, ...] | None:
    """Return how each dimension grows; ``None`` if the number of dimensions does."""
    runs = {name: [form[tensor][1] for form in forms] for name, forms in others.items()}
    if any(len(found) != len(shape) for shapes in runs.values() for found in shapes):
        return None
    extents = []
    for axis, size in enumerate(shape):
        growth = {}
        for name, shapes in runs.items():
            found = _growth(size, [s[axis] for s in shapes], sizes[name])
            if found != 0:
                growth[name] = found
        fixed = size - sum((g or 0) * sizes[name] for name, g in growth.items())
        extents.append(Extent(fixed, tuple(growth.items())))
    return tuple(extents)


def _growth(size: int, found: Sequence[int], unit: int) -> int | None:
    """Return what one unit more adds, ``None`` if that is no fixed whole number."""
    steps = {other - before for before, other in pairwise([size, *found])}
    (step, *more) = steps
    return None if more or step % unit else step // unit
