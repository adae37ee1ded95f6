"""The samples of a training and the changed copies of them that an epoch shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Prepare = Callable[[Sequence[int]], NDArray[np.float32]]
"""Returns the prepared inputs ``(B, ...)`` of some rows."""


@dataclass(frozen=True, slots=True)
class Data:
    """The samples of one role.

    Attributes
    ----------
    count
        Number of samples.
    inputs
        Returns the prepared inputs of some rows.
    labels
        int64 ``(N, P)``, ``None`` if there are none.
    key
        SHA-256 of the samples and of their preparation.
    """

    count: int
    inputs: Prepare
    labels: NDArray[np.int64] | None
    key: str


@dataclass(frozen=True, slots=True)
class Views:
    """How samples are changed from epoch to epoch.

    Attributes
    ----------
    flip
        Mirror half of the images.
    shift
        Move each image by at most so many pixels; what comes in is reflected.
    mix
        Share of the samples that are mixed with another one (their answers come from a teacher).
    cutmix
        Share of them in which a square is another one's; with `mix` at most 1.
    count
        Different copies of the data before the first one comes again; 0 for ever new ones, whose
        teacher's answers are not kept.
    seed
        Seed of all choices.

    Notes
    -----
    Mixing is that of Zhang et al., mixup, ICLR 2018, squares are those of Yun et al., CutMix, ICCV
    2019, both with uniform shares; a patient teacher that sees the very same copies is Beyer et
    al., Knowledge distillation, CVPR 2022.
    """

    flip: bool = False
    shift: int = 0
    mix: float = 0.0
    cutmix: float = 0.0
    count: int = 8
    seed: int = 0

    @property
    def plain(self) -> bool:
        """Whether samples are shown as they are."""
        return not (self.flip or self.shift or self.mix or self.cutmix)

    @property
    def key(self) -> str:
        """What names these choices in a cache."""
        text = f"{self.flip} {self.shift} {self.mix} {self.cutmix} {self.seed}"
        return "plain" if self.plain else hashlib.sha256(text.encode()).hexdigest()[:16]

    def number(self, epoch: int) -> int:
        """Return which copy epoch `epoch`, from 0, shows."""
        if self.plain:
            return 0
        return epoch % self.count if self.count else epoch

    def inputs(self, data: Data, number: int, rows: NDArray[np.int64]) -> Tensor:
        """Return some rows of copy `number` ``(B, ...)``."""
        if self.plain:
            return torch.from_numpy(data.inputs(rows.tolist()))
        drawn = _draw(self, data.count, number)
        x = self._moved(data, drawn, rows)
        mixed = np.flatnonzero(drawn["share"][rows] < 1)
        if mixed.size:
            other = self._moved(data, drawn, drawn["partner"][rows[mixed]])
            own = _own_share({name: values[rows[mixed]] for name, values in drawn.items()}, x.shape)
            x[mixed] = own * x[mixed] + (1 - own) * other
        return x

    def _moved(self, data: Data, drawn: dict[str, NDArray[Any]], rows: NDArray[np.int64]) -> Tensor:
        x = torch.from_numpy(data.inputs(rows.tolist()))
        if x.dim() != 4 or not (self.flip or self.shift):
            return x
        _, _, height, width = x.shape
        down = _reflected(np.arange(height) + drawn["down"][rows][:, None], height)
        right = _reflected(np.arange(width) + drawn["right"][rows][:, None], width)
        right = np.where(drawn["flip"][rows][:, None], right[:, ::-1], right)
        batch = torch.arange(len(x))[:, None, None]
        moved = x[batch, :, torch.from_numpy(down)[:, :, None], torch.from_numpy(right)[:, None]]
        return moved.permute(0, 3, 1, 2).contiguous()


@lru_cache(maxsize=2)
def _draw(views: Views, count: int, number: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng([views.seed, number])
    share = rng.random(count).astype(np.float32)
    kind = rng.random(count)
    share[kind >= views.mix + views.cutmix] = 1
    return {
        "square": kind >= views.mix,
        "centre": rng.random((count, 2)),
        "down": rng.integers(-views.shift, views.shift + 1, count),
        "right": rng.integers(-views.shift, views.shift + 1, count),
        "flip": rng.random(count) < (0.5 if views.flip else 0.0),
        "partner": rng.permutation(count),
        "share": share,
    }


def _own_share(drawn: dict[str, NDArray[Any]], shape: Sequence[int]) -> Tensor:
    """Return how much of each value is the sample's own, ``(B, 1, H, W)`` for images."""
    share = torch.from_numpy(drawn["share"]).reshape(-1, *[1] * (len(shape) - 1))
    if len(shape) != 4 or not drawn["square"].any():
        return share
    side = np.sqrt(1 - drawn["share"])[:, None]
    down, right = (
        np.abs((np.arange(size) + 0.5) / size - drawn["centre"][:, axis, None]) * 2 < side
        for axis, size in enumerate(shape[2:])
    )
    inside = torch.from_numpy(down[:, :, None] & right[:, None])[:, None]
    square = torch.from_numpy(drawn["square"])[:, None, None, None]
    return torch.where(square, (~inside).float(), share)


def _reflected(places: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Return places inside 0 to ``size - 1``, mirrored at both ends."""
    span = max(1, 2 * (size - 1))
    folded = np.abs(places) % span
    return np.asarray(np.minimum(folded, span - folded), np.int64)
