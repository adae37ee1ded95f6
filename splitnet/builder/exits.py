"""Early exits: small heads on the features of a frozen network, calibrated to be trusted.

Source: Teerapittayanon et al., "BranchyNet", ICPR 2016; Guo et al., "On Calibration of Modern
Neural Networks", ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from splitnet.builder.training import Schedule, fit
from splitnet.console import Progress
from splitnet.runtime.answers import labels, max_softmax, score

CONFIDENCE = "max-softmax"
"""The confidence function whose threshold is chosen here."""

CLOSED = 1.0 + 1e-3
"""Threshold that no confidence reaches."""

WORK_SHARE = 0.05
"""What an exit may cost of the whole network's FLOPs (aim; its width is at least `MIN_WIDTH`)."""

MIN_WIDTH, MAX_WIDTH = 8, 64
_CONV_SIDE = 3
_TEMPERATURES = np.geomspace(0.25, 8.0, 61)


@dataclass(frozen=True, slots=True)
class TrainedExit:
    """An exit head with its calibration.

    Attributes
    ----------
    module
        Features in, logits of the form of the network's output out.
    temperature, threshold
        Chosen on calibration data.
    share, mixed_score, whole_score
        On calibration data: who leaves at the exit, the score if those do, and if nobody does.
    """

    module: nn.Module
    temperature: float
    threshold: float
    share: float
    mixed_score: float
    whole_score: float

    @property
    def closed(self) -> bool:
        """Whether no threshold was good enough, so that nothing leaves here."""
        return self.threshold >= CLOSED


def make_head(
    features: Sequence[int], output: Sequence[int], budget_flops: float, seed: int = 0
) -> nn.Module:
    """Return an untrained head for features and an output of these shapes, without batch.

    An image-like tensor goes through convolutions, for a square page of labels down to one cell a
    label; anything else through one linear layer. Every size is fixed, so that the ONNX file has
    static shapes.
    """
    torch.manual_seed(seed)
    page = math.isqrt(output[0]) if len(output) == 2 else 1
    image = len(features) == 3 and min(features[1:]) >= page
    if image and page * page == output[0] and len(output) == 2:
        return _PageHead((features[0], features[1], features[2]), page, output[1], budget_flops)
    if image and len(output) == 1:
        return _ClassHead((features[0], features[1], features[2]), output[0], budget_flops)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(features), math.prod(output)),
        nn.Unflatten(1, tuple(output)),
    )


class _ClassHead(nn.Module):
    """Two convolutions with stride 2, global average pooling, a linear layer."""

    def __init__(self, features: tuple[int, int, int], classes: int, budget: float) -> None:
        super().__init__()
        channels, height, width = features
        wide = _width(channels, math.ceil(height / 2) * math.ceil(width / 2), budget)
        self.features = nn.Sequential(
            *_convolution(channels, wide, 2), *_convolution(wide, wide, 2)
        )
        self.classes = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, C)."""
        logits: Tensor = self.classes(self.features(x).mean((2, 3)))
        return logits


class _PageHead(nn.Module):
    """A convolution, average pooling to one cell a label, a 1x1 convolution."""

    def __init__(
        self, features: tuple[int, int, int], page: int, classes: int, budget: float
    ) -> None:
        super().__init__()
        channels, height, width = features
        stride = 2 if min(height, width) >= 2 * page else 1
        sides = (math.ceil(height / stride), math.ceil(width / stride))
        wide = _width(channels, sides[0] * sides[1], budget)
        steps = [side // page for side in sides]
        kernel = [side - (page - 1) * step for side, step in zip(sides, steps, strict=True)]
        self.layers = nn.Sequential(
            *_convolution(channels, wide, stride),
            nn.AvgPool2d((kernel[0], kernel[1]), (steps[0], steps[1])),
            nn.Conv2d(wide, classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, P, C), the labels in reading order."""
        logits: Tensor = self.layers(x)
        return logits.flatten(2).transpose(1, 2)


def train_exit(
    head: nn.Module,
    training: tuple[NDArray[Any], NDArray[np.int64]],
    calibration: tuple[NDArray[Any], NDArray[np.int64]],
    whole: NDArray[Any],
    loss_allowed: float,
    schedule: Schedule,
    progress: Progress,
) -> TrainedExit:
    """Train `head` by cross-entropy, then choose temperature and threshold.

    Parameters
    ----------
    training, calibration
        Features (N, ...) float32 and labels (N, P).
    whole
        The whole network's output on the calibration data.
    loss_allowed
        How much of the calibration score may be lost by answering early.
    """
    features, truth = training
    targets = torch.from_numpy(truth)
    held, held_truth = calibration

    def loss(rows: Tensor) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(features[rows.numpy()]))
        return _cross_entropy(head(x), targets[rows])

    def quality() -> float:
        return -float(_cross_entropy(_logits(head, held), torch.from_numpy(held_truth)))

    fit(head, loss, len(features), quality, schedule, progress)
    logits = _logits(head, held).numpy()
    temperature = fit_temperature(logits, held_truth)
    confidence = max_softmax(logits, temperature)
    early = score(labels(logits), held_truth)
    late = score(labels(whole), held_truth)
    threshold = choose_threshold(confidence, early, late, loss_allowed)
    leaves = confidence >= threshold
    return TrainedExit(
        head,
        temperature,
        threshold,
        share=float(leaves.mean()),
        mixed_score=float(np.where(leaves, early, late).mean()),
        whole_score=float(late.mean()),
    )


def fit_temperature(logits: NDArray[Any], truth: NDArray[np.int64]) -> float:
    """Return the temperature with the least cross-entropy of ``logits / temperature``.

    Parameters
    ----------
    logits
        (N, C) or (N, P, C).
    truth
        (N, P).
    """
    scores, wanted = torch.from_numpy(logits), torch.from_numpy(truth)
    losses = [float(_cross_entropy(scores / t, wanted)) for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def choose_threshold(
    confidence: NDArray[Any], early: NDArray[Any], late: NDArray[Any], loss_allowed: float
) -> float:
    """Return the smallest threshold at which answering early costs at most `loss_allowed`.

    Samples whose confidence reaches the threshold count with their score `early`, the others with
    `late`, all (N,). If even the surest samples lose too much, the exit is `CLOSED`.
    """
    order = np.argsort(-confidence, kind="stable")
    lost = np.cumsum((late - early)[order]) / len(order)
    # A threshold takes all samples of its confidence: only the last of equals may be the edge.
    last = np.append(confidence[order][:-1] != confidence[order][1:], True)
    good = np.flatnonzero((lost <= loss_allowed) & last)
    if not len(good):
        return CLOSED
    # Tables hold float32: round down, or the sample at the edge would not reach its own value.
    edge = np.float32(confidence[order[good[-1]]])
    return float(np.nextafter(edge, np.float32(0.0)))


def _convolution(channels: int, wide: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, wide, _CONV_SIDE, stride, _CONV_SIDE // 2), nn.ReLU()


def _width(channels: int, cells: int, budget_flops: float) -> int:
    """Return a number of channels whose first convolution stays within the budget."""
    affordable = budget_flops / (2 * _CONV_SIDE**2 * channels * cells)
    return max(MIN_WIDTH, min(MAX_WIDTH, int(affordable) // 8 * 8))


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), truth.reshape(-1))


def _logits(head: nn.Module, features: NDArray[Any]) -> Tensor:
    head.eval()
    with torch.inference_mode():
        parts = [
            head(torch.from_numpy(np.ascontiguousarray(features[i : i + 256])))
            for i in range(0, len(features), 256)
        ]
    return torch.cat(parts)
