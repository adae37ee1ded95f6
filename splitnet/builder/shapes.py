"""Shapes of all tensors of a graph, measured by running it rather than inferred.

Two runs, with one sample and with two, tell for every dimension whether it grows with the batch.
Inference gives up on many exported graphs; a run does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from splitnet.builder.probing import compute_all
from splitnet.values import TensorSpec


@dataclass(frozen=True, slots=True)
class Measured:
    """Form of one tensor: its shape for one sample, and what each sample more adds to it."""

    dtype: str
    shape: tuple[int, ...]
    growth: tuple[int, ...]

    def spec(self, name: str) -> TensorSpec:
        """Return the specification; a dimension that is no plain batch reads like ``"2N+1"``."""
        return TensorSpec(name, self.dtype, tuple(map(_dim, self.shape, self.growth)))

    @property
    def batched(self) -> bool:
        """Whether the first dimension is the batch and no other depends on it."""
        return self.shape[:1] == self.growth[:1] == (1,) and not any(self.growth[1:])


def measure(model: onnx.ModelProto, one: NDArray[Any], two: NDArray[Any]) -> Mapping[str, Measured]:
    """Return the form of every computed tensor of `model`, and of its input.

    Parameters
    ----------
    one, two
        A batch of one sample and a batch of two.
    """
    first, second = compute_all(model, one, two)
    return {
        name: Measured(str(a.dtype), a.shape, tuple(np.subtract(b.shape, a.shape).tolist()))
        for name, a in first.items()
        if isinstance(a, np.ndarray) and a.ndim == (b := second[name]).ndim
    }


def _dim(size: int, growth: int) -> int | str:
    if not growth:
        return size
    times, rest = ("" if growth == 1 else str(growth)), size - growth
    return f"{times}N{rest:+d}" if rest else f"{times}N"
