"""A small network of three classes, images of them, and tasks on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.training.addressing import Network
from splitnet.training.entropic import Entropic
from splitnet.training.entropic_config import EntropicConfig
from splitnet.training.session import Task
from splitnet.training.teacher import Arithmetic, Teacher
from splitnet.training.threads import math_threads
from splitnet.training.views import Data, Views


class Colours(nn.Module):
    """Two stages and a head with weights written by hand: each colour has its own channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1)
        self.norm = nn.BatchNorm2d(8)
        self.stage = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(12, 3)
        torch.manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0.0, 0.01)
        nn.init.ones_(self.norm.weight)
        self.conv.weight.data[:3, :3, 1, 1] = torch.eye(3)
        self.stage.get_parameter("0.weight").data[:3, :3, 1, 1] = torch.eye(3)
        self.head.weight.data[:, :3] = 20 * torch.eye(3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 3) of images (N, 3, 16, 16)."""
        x = self.stage(torch.relu(self.norm(self.conv(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


TINY = EntropicConfig(
    channels=(1, 2, 4),
    encoder_widths=(8, 8),
    decoder_widths=(16, 8, 8),
    rate=1e-2,
    feature_epochs=1,
    joint_epochs=2,
    decoder_epochs=1,
)
"""Seconds of training, behind which nothing is learned but everything has run."""

MakeTask: TypeAlias = Callable[..., Task]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Train in one thread; several wait for each other when the machine is busy."""
    with math_threads(1):
        yield


@pytest.fixture
def network() -> Network:
    return Network(Colours().eval(), torch.zeros(1, 3, 16, 16))


def colour_data(count: int, seed: int) -> Data:
    """Images whose brightest colour is their class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    x = rng.random((count, 3, 16, 16), np.float32) / 3
    x[np.arange(count), y] += 0.5

    def inputs(rows: list[int]) -> NDArray[np.float32]:
        return np.asarray(x[rows], np.float32)

    return Data(count, inputs, y[:, None], f"{count} {seed}")  # type: ignore[arg-type]


@pytest.fixture
def make_task(network: Network) -> MakeTask:
    """Return a function that makes a small task; its arguments replace those of `Task`."""

    def make(**changes: object) -> Task:
        settings: dict[str, object] = {
            "recipe": Entropic(TINY),
            "network": network,
            "teacher": Teacher([network.module], Arithmetic()),
            "training": colour_data(48, 1),
            "calibration": colour_data(24, 2),
            "target": "relu:0",
            "views": Views(flip=True, shift=2, mix=0.5, count=2),
            "batch": 16,
        }
        return Task(**(settings | changes))  # type: ignore[arg-type]

    return make
