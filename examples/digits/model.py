"""A small convolutional network that reads a page of 8 x 8 handwritten digits.

It is trained when it is asked for, in about a quarter of a minute on one core:

    splitnet build --model examples/digits/model.py:pages --data digits --out bundle
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitnet.builder.data import Dataset, load_data
from splitnet.console import progress

EPOCHS = 4
BATCH = 16
PEAK_RATE = 4e-3
SMOOTHING = 0.05
"""Label smoothing, which keeps the confidences of a network this sure of itself apart."""


class Pages(nn.Module):
    """Three stages, each halving height and width, and a classifier for every digit's cell."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(*_layer(1, 16, 1), *_layer(16, 16, 2))
        self.stage2 = nn.Sequential(*_layer(16, 32, 1), *_layer(32, 32, 2))
        self.stage3 = nn.Sequential(*_layer(32, 64, 1), *_layer(64, 64, 2), *_layer(64, 64, 1))
        self.head = nn.Conv2d(64, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 64, 10) for pages (N, 1, 64, 64) in [0, 1], in reading order."""
        cells: Tensor = self.head(self.stage3(self.stage2(self.stage1(x))))
        return cells.flatten(2).transpose(1, 2)


@cache
def pages(seed: int = 0) -> nn.Module:
    """Return the network, trained on the pages of the training role."""
    torch.manual_seed(seed)
    network = Pages()
    _arrange(network, torch.channels_last)  # trains a third faster on a CPU
    _train(network, load_data("digits", "training", seed), seed)
    _arrange(network, torch.contiguous_format)
    return network.eval()


def _arrange(network: nn.Module, layout: torch.memory_format) -> None:
    """Lay out the weights of the convolutions in memory."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


def _layer(channels: int, wide: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, wide, 3, stride, 1, bias=False)
    return convolution, nn.BatchNorm2d(wide), nn.ReLU()


def _train(network: nn.Module, data: Dataset, seed: int) -> None:
    images = np.stack([data.load(i) for i in range(len(data))])
    x = torch.from_numpy(images).float()[:, None] / 255  # one channel: in either memory format
    assert data.y is not None
    y = torch.from_numpy(data.y)
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
    with progress() as report:
        report.step(f"training the network on {len(x)} pages of digits", EPOCHS)
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(len(x), generator=random), BATCH):
                down, right = torch.randint(-1, 2, (2,), generator=random).tolist()
                shifted = torch.roll(x[rows], (down, right), (2, 3))
                logits = network(shifted).flatten(0, 1)
                loss = F.cross_entropy(logits, y[rows].flatten(), label_smoothing=SMOOTHING)
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
            report.advance(1, f"loss {loss.item():.3f}")
