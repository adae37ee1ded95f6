"""A learned bottleneck: an encoder on the device, a decoder in the cloud, distilled.

Source: Matsubara et al., "Distilled Split Deep Neural Networks for Edge-Assisted Real-Time
Systems", HotEdgeVideo 2019 (head network distillation), with an 8-bit quantiser at the cut as in
"BottleFit", WoWMoM 2022 (arXiv 2201.02693).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from splitnet.console import Progress
from splitnet.training.loop import Schedule, fit
from splitnet.training.recipe import divergence

Tail: TypeAlias = Callable[[Tensor], Tensor]
"""The frozen network behind the bottleneck."""

SQUEEZE = 16
"""Elements of the boundary tensor for each element of the bottleneck."""

QUANTISER_STEPS = 255
"""Steps between minimum and maximum of a sample at 8 bits, as the affine codec takes them."""

MIN_DECODER_WIDTH = 32
CALIBRATION_ROWS = 512
"""Calibration samples looked at after each epoch; enough to tell states apart."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """What the frozen network makes of some samples.

    Attributes
    ----------
    features
        Tensor at the boundary (N, C, H, W).
    output
        Its answers (N, C) or (N, P, C).
    """

    features: NDArray[Any]
    output: NDArray[Any]


class Bottleneck(nn.Module):
    """Encoder and decoder for a boundary tensor of the shape ``(C, H, W)``.

    Parameters
    ----------
    shape
        Shape of one sample of the boundary tensor.
    positive
        Whether the boundary tensor is never negative, as behind a ReLU.
    seed
        Seed of the first weights.
    """

    def __init__(self, shape: tuple[int, int, int], positive: bool, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        channels, height, width = shape
        stride = 2 if min(height, width) >= 4 else 1
        narrow = max(1, channels * stride**2 // SQUEEZE)
        wide = max(channels, MIN_DECODER_WIDTH)
        # The transposed convolution must give back H and W exactly, also when they are odd.
        rest = [(side - 1) % stride for side in (height, width)]
        self.encoder = nn.Sequential(
            *_layer(nn.Conv2d(channels, channels, 3, stride, 1, bias=False)),
            nn.Conv2d(channels, narrow, 3, 1, 1),
        )
        self.decoder = nn.Sequential(
            *_layer(nn.ConvTranspose2d(narrow, wide, 3, stride, 1, (rest[0], rest[1]), bias=False)),
            *_layer(nn.Conv2d(wide, wide, 3, 1, 1, bias=False)),
            nn.Conv2d(wide, channels, 3, 1, 1),
            nn.ReLU() if positive else nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the boundary tensor as the cloud gets it at 8 bits."""
        restored: Tensor = self.decoder(quantise(self.encoder(x)))
        return restored


def quantise(z: Tensor) -> Tensor:
    """Round each sample to 8 bits between its minimum and maximum; gradients pass unchanged.

    Source: the straight-through estimator, Bengio et al. 2013 (arXiv 1308.3432).
    """
    low = z.detach().amin((1, 2, 3), keepdim=True)
    step = (z.detach().amax((1, 2, 3), keepdim=True) - low) / QUANTISER_STEPS
    step = torch.where(step > 0, step, torch.ones_like(step))
    rounded = torch.round((z - low) / step) * step + low
    return z + (rounded - z).detach()


def train_bottleneck(
    bottleneck: Bottleneck,
    training: Teacher,
    calibration: Teacher,
    tail: Tail | None,
    schedule: Schedule,
    progress: Progress,
) -> float:
    """Distil `bottleneck` in place, and return its score on calibration data.

    It first learns to restore the boundary tensor: the loss is the mean squared error relative to
    the tensor's variance. If the `tail` can be run in torch, that takes half of the schedule, and
    the other half adds the divergence of the network's answers, which costs a pass through the
    rest of the network (BottleFit trains in two stages for the same reason). The score is the
    share of answers equal to the teacher's, without a `tail` minus the relative error.
    """
    spread = float(np.var(training.features[:CALIBRATION_ROWS])) or 1.0
    answers = torch.from_numpy(training.output)
    held = Teacher(calibration.features[:CALIBRATION_ROWS], calibration.output[:CALIBRATION_ROWS])
    count = len(training.features)

    def restored(rows: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(np.ascontiguousarray(training.features[rows.numpy()]))
        y: Tensor = bottleneck(x)
        return y, F.mse_loss(y, x) / spread

    def quality() -> float:
        found = [_quality(bottleneck, held, rows, tail, spread) for rows in _batches(held)]
        return math.fsum(found) / len(held.features)

    def restore(schedule: Schedule) -> float:
        return fit(bottleneck, lambda rows: restored(rows)[1], count, quality, schedule, progress)

    if tail is None:
        return restore(schedule)

    def loss(rows: Tensor) -> Tensor:
        y, error = restored(rows)
        return error + divergence(tail(y), answers[rows], 1.0)

    first, second = schedule.halves()
    if first.epochs:
        restore(first)
    return fit(bottleneck, loss, count, quality, second, progress)


def _quality(
    bottleneck: Bottleneck,
    teacher: Teacher,
    rows: slice,
    tail: Tail | None,
    spread: float,
) -> float:
    """Return the sum of the scores of some samples."""
    x = torch.from_numpy(np.ascontiguousarray(teacher.features[rows]))
    restored = bottleneck(x)
    if tail is None:
        return -float(F.mse_loss(restored, x)) / spread * len(x)
    same = tail(restored).argmax(-1) == torch.from_numpy(teacher.output[rows]).argmax(-1)
    return float(same.float().reshape(len(x), -1).mean(1).sum())


def _batches(teacher: Teacher) -> list[slice]:
    return [slice(i, i + 64) for i in range(0, len(teacher.features), 64)]


def _layer(convolution: nn.Module) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(int(convolution.out_channels)), nn.ReLU()  # type: ignore[arg-type]
