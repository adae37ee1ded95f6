"""Heads of early exits: small networks from a feature tensor to the form of the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORK_SHARE = 0.05
"""What an exit may cost of the whole network's FLOPs (aim; its width is at least `MIN_WIDTH`)."""

MIN_WIDTH, MAX_WIDTH = 8, 64
_CONV_SIDE = 3


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


class ResidualHead(nn.Module):
    """Basic residual blocks, global average pooling, a linear layer: a small network of its own.

    Early layers know edges and no objects; an exit there that shall be right as often as the
    network on easy images needs some depth behind them.

    Parameters
    ----------
    channels
        Channels of the features.
    widths
        Channels of each block; one that widens halves height and width.
    adapted
        Mix the channels first, so that blocks can begin as those of another network.

    Source: He et al., "Deep Residual Learning", arXiv 1512.03385, section 4.2 (option A).
    """

    def __init__(
        self, channels: int, classes: int, widths: Sequence[int], adapted: bool = False
    ) -> None:
        super().__init__()
        adapter = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU())
        self.adapter = adapter if adapted else nn.Identity()
        inputs = (channels, *widths[:-1])
        self.blocks = nn.Sequential(*[_Block(a, b) for a, b in zip(inputs, widths, strict=True)])
        self.classes = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, C)."""
        logits: Tensor = self.classes(self.blocks(self.adapter(x)).mean((2, 3)))
        return logits


class _Block(nn.Module):
    """Two convolutions and a shortcut without parameters."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.stride = 2 if wide > channels else 1
        self.more = (wide - channels) // 2
        self.conv1 = nn.Conv2d(channels, wide, _CONV_SIDE, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, _CONV_SIDE, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(x + y)


def _convolution(channels: int, wide: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, wide, _CONV_SIDE, stride, _CONV_SIDE // 2), nn.ReLU()


def _width(channels: int, cells: int, budget_flops: float) -> int:
    """Return a number of channels whose first convolution stays within the budget."""
    affordable = budget_flops / (2 * _CONV_SIDE**2 * channels * cells)
    return max(MIN_WIDTH, min(MAX_WIDTH, int(affordable) // 8 * 8))
