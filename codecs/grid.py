"""Evenly spaced values: floats to symbols and back, with one spacing a tensor or a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import Array

LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny)  # below it, 1 / step would overflow
_SLACK = 1 + 1e-6  # the rounding of a step may lift the largest value by this factor


@dataclass(frozen=True, slots=True)
class Grid:
    """Symbol ``q``, from 0 to `top`, stands for ``low + (q - zero) * step``.

    Attributes
    ----------
    low, step
        float32 that broadcast over the array: ``(1,)``, or ``(C, 1, ...)`` for one a channel.
    """

    low: NDArray[np.float32]
    step: NDArray[np.float32]
    top: int
    zero: int = 0

    def fits(self, dtype: str) -> bool:
        """Return whether every symbol stands for a finite value of `dtype`."""
        if not (np.isfinite(self.low).all() and np.isfinite(self.step).all()):
            return False
        largest = float(np.finfo(dtype).max)
        low, step = self.low.astype(np.float64), self.step.astype(np.float64)
        first, last = low - self.zero * step, low + (self.top - self.zero) * step
        inside = (step >= 0) & (-largest * _SLACK <= first) & (last <= largest * _SLACK)
        return bool(np.all(inside))

    def symbols(self, array: Array) -> NDArray[np.uint8]:
        """Return the nearest symbol of each value ``(n, ...)``; beyond an end, that of the end."""
        low, step = self.low, self.step
        steps: NDArray[np.floating[Any]]
        if self._needs_float64:
            steps = array.astype(np.float64) - low
            steps /= np.where(step > 0, step, 1).astype(np.float64)
            steps *= step > 0
            steps += self.zero + 0.5
            np.clip(steps, 0, self.top, out=steps)
        else:
            first, last = low - step * self.zero, low + step * (self.top - self.zero)
            steps = np.clip(array.astype(np.float32, copy=False), first, last)
            steps -= low
            steps *= np.where(step > 0, 1.0 / np.where(step > 0, step, 1), 0).astype(np.float32)
            steps += np.float32(self.zero + 0.5)
        return np.asarray(steps, np.uint8, "C")  # rounded down

    def values(self, symbols: NDArray[np.uint8]) -> Array:
        """Return what `symbols` stand for, float32 or float64."""
        if self._needs_float64:
            exact = (symbols.astype(np.float64) - self.zero) * self.step + self.low
            return np.clip(exact, -LARGEST, LARGEST)
        values = symbols.astype(np.float32)
        if self.zero:
            values -= np.float32(self.zero)
        values *= self.step
        values += self.low
        return values

    @property
    def _needs_float64(self) -> bool:
        steep = self.step * np.float64(self.top)
        subnormal = (self.step > 0) & (self.step < _SMALLEST)
        return bool(np.any(subnormal) or np.any(np.abs(self.low) + steep > LARGEST / 2))
