"""Uniform quantisation between two ends of any sign."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitnet.codecs.base import Buffer
from splitnet.codecs.bits import check_bits
from splitnet.codecs.clipping import DEFAULT_SHARE, Ends, clip_range
from splitnet.codecs.grid import LARGEST, Grid
from splitnet.codecs.quantiser import Quantiser, Rows, check_clip, check_ranges
from splitnet.errors import CodecError


@dataclass(frozen=True, slots=True)
class AffineConfig:
    """Bits of a symbol and the range that they cover.

    Attributes
    ----------
    bits
        From 1 to 8.
    per_channel
        One range for each index of axis 1, instead of one for the tensor.
    clip
        How the range is chosen for each payload: ``min-max``, ``percentile``, ``mse``, ``aciq``.
    share
        Part of the values that ``percentile`` keeps inside.
    low, high
        Fixed ranges, one or one a channel: the payload then carries none.
    """

    bits: int = 8
    per_channel: bool = False
    clip: str = "min-max"
    share: float = DEFAULT_SHARE
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_bits("affine", self.bits, 1)
        check_clip("affine", self.clip, self.share)
        check_ranges("affine", self.per_channel, self.low, self.high)
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise CodecError("affine: low is above high")


class Affine(Quantiser):
    """Maps floats to ``2**bits`` evenly spaced values.

    Inside the range the error is at most half a step, and the rounding of float32. A step is
    ``(high - low) / (2**bits - 1)``. The side is low and step (float32, little endian) of the
    tensor, or all lows and all steps of its channels.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, CVPR 2018, equation 1.
    """

    id = "affine"
    Config = AffineConfig

    def __init__(self, config: AffineConfig | None = None) -> None:
        super().__init__(config)
        low, high = (np.array(ends, np.float64) for ends in (self.config.low, self.config.high))
        self._grid = self._between(low, high) if low.size else None

    def _fixed(self) -> Grid | None:
        return self._grid

    def _fitted(self, rows: Rows) -> Grid:
        low, high = clip_range(rows, self.config.clip, self._top + 1, self.config.share)
        return self._between(low, high)

    def _side(self, grid: Grid) -> bytes:
        return np.concatenate([grid.low, grid.step]).astype("<f4").tobytes()

    def _read(self, side: Buffer) -> Grid:
        low, step = np.frombuffer(side, "<f4").astype(np.float32).reshape(2, -1)
        return Grid(low, step, self._top)

    def _side_bytes(self) -> int:
        return 8

    def _between(self, low: Ends, high: Ends) -> Grid:
        steps = np.clip((high - low) / self._top, 0, LARGEST)
        return Grid(low.astype(np.float32), steps.astype(np.float32), self._top)

    @property
    def _top(self) -> int:
        top: int = (1 << self.config.bits) - 1
        return top
