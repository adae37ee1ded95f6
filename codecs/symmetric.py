"""Uniform quantisation around zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import Buffer
from splitnet.codecs.bits import check_bits
from splitnet.codecs.clipping import DEFAULT_SHARE, clip_range
from splitnet.codecs.grid import Grid
from splitnet.codecs.quantiser import Quantiser, Rows, check_clip, check_ranges
from splitnet.errors import CodecError


@dataclass(frozen=True, slots=True)
class SymmetricConfig:
    """Bits of a symbol and the magnitude that they cover.

    Attributes
    ----------
    bits
        From 2 to 8.
    per_channel
        One magnitude for each index of axis 1, instead of one for the tensor.
    clip
        How it is chosen for each payload: ``min-max``, ``percentile``, ``mse``, ``aciq``.
    share
        Part of the values that ``percentile`` keeps inside.
    largest
        Fixed magnitudes, one or one a channel: the payload then carries none.
    """

    bits: int = 8
    per_channel: bool = False
    clip: str = "min-max"
    share: float = DEFAULT_SHARE
    largest: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_bits("symmetric", self.bits, 2)
        check_clip("symmetric", self.clip, self.share)
        check_ranges("symmetric", self.per_channel, self.largest)
        if any(largest < 0 for largest in self.largest):
            raise CodecError("symmetric: largest is below 0")


class Symmetric(Quantiser):
    """Maps floats to ``2**bits - 1`` evenly spaced values, zero in their middle.

    Zero stays exactly zero. A step is ``largest / (2**(bits - 1) - 1)`` and the symbol of a value
    is its count of steps plus ``2**(bits - 1) - 1``. The side is the step (float32, little
    endian) of the tensor, or those of its channels.

    Source: Wu et al., Integer Quantization for Deep Learning Inference, 2020, section 3.1.2.
    """

    id = "symmetric"
    Config = SymmetricConfig

    def __init__(self, config: SymmetricConfig | None = None) -> None:
        super().__init__(config)
        largest = np.array(self.config.largest, np.float64)
        self._grid = self._reaching(largest) if largest.size else None

    def _fixed(self) -> Grid | None:
        return self._grid

    def _fitted(self, rows: Rows) -> Grid:
        share = self.config.share
        mirrored = np.concatenate([rows, -rows], axis=1)  # gives symmetric ends
        low, high = clip_range(mirrored, self.config.clip, 2 * self._half + 1, share)
        return self._reaching(np.maximum(-low, high))

    def _side(self, grid: Grid) -> bytes:
        return grid.step.astype("<f4").tobytes()

    def _read(self, side: Buffer) -> Grid:
        return self._stepping(np.frombuffer(side, "<f4").astype(np.float32))

    def _side_bytes(self) -> int:
        return 4

    def _reaching(self, largest: NDArray[np.float64]) -> Grid:
        return self._stepping((largest / self._half).astype(np.float32))

    def _stepping(self, step: NDArray[np.float32]) -> Grid:
        return Grid(np.zeros_like(step), step, 2 * self._half, self._half)

    @property
    def _half(self) -> int:
        half: int = (1 << (self.config.bits - 1)) - 1
        return half
