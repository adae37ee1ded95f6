"""Several exits learn together, with the network or without touching it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitnet.console import Silent
from splitnet.errors import ConfigError, PartitionError, TrainingError
from splitnet.training.addressing import Network
from splitnet.training.branches import (
    BranchConfig,
    Branches,
    branch_answers,
    train_branches,
)
from splitnet.training.loop import Epoch
from splitnet.training.teacher import Arithmetic, Teacher
from splitnet.training.views import Data, Views

PLACES = ("stem", "body")


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.body(self.stem(x)).mean((2, 3)))
        return found


class _Teacher(nn.Module):
    """Knows that a class is a colour."""

    def forward(self, x: Tensor) -> Tensor:
        return 8 * (x.mean((2, 3)) - x.mean((1, 2, 3))[:, None])


def _data(count: int, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, count)
    x = rng.random((count, 3, 8, 8)).astype(np.float32)
    x[np.arange(count), truth] += 1.0

    def inputs(rows: Sequence[int]) -> np.ndarray:
        return x[list(rows)]

    return Data(count, inputs, truth[:, None], hashlib.sha256(x.tobytes()).hexdigest())


def _heads() -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(
            nn.Conv2d(c, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
        )
        for c in (6, 8)
    )


def _branches(frozen: bool) -> Branches:
    torch.manual_seed(0)
    return Branches(Network(_Net(), torch.zeros(1, 3, 8, 8)), PLACES, _heads(), frozen)


def _train(branches: Branches, config: BranchConfig, teacher: nn.Module) -> list[Epoch]:
    epochs: list[Epoch] = []
    plain = Arithmetic()
    train_branches(
        branches,
        config,
        Teacher([teacher], plain),
        _data(240, 0),
        Views(flip=True),
        plain,
        Silent(),
        report=lambda epoch, average: epochs.append(epoch),
    )
    return epochs


@pytest.mark.parametrize("rate", [0.0, 1e-2])
def test_every_exit_learns_what_the_teacher_says(rate: float) -> None:
    branches = _branches(frozen=not rate)
    before = {name: value.clone() for name, value in branches.network.state_dict().items()}
    config = BranchConfig(PLACES, epochs=20, batch=32, rate=3e-2, network_rate=rate)
    epochs = _train(branches, config, _Teacher())
    assert epochs[-1].loss < 0.7 * epochs[0].loss
    assert epochs[-1].figures.keys() == ({*PLACES, "output"} if rate else set(PLACES))
    held = _data(120, 1)
    assert held.labels is not None
    *early, last = branch_answers(branches, held, Arithmetic())
    right = [float((x.argmax(1) == held.labels[:, 0]).mean()) for x in early]
    assert max(right) > 0.9 and min(right) > 0.5
    moved = [n for n, v in branches.network.state_dict().items() if not torch.equal(v, before[n])]
    assert bool(moved) == bool(rate)
    assert not any("running" in name for name in moved)
    assert last.shape == (120, 3)


def test_weights_price_the_branches() -> None:
    config = BranchConfig(PLACES, epochs=4, batch=32, rate=2e-2, weights=(1.0, 0.0, 1.0))
    branches = _branches(frozen=True)
    before = [p.detach().clone() for p in branches.heads[1].parameters()]
    _train(branches, config, _Teacher())
    changes = [
        float((a.detach() - b).norm() / b.norm().clamp_min(1e-9))
        for a, b in zip(branches.heads[1].parameters(), before, strict=True)
    ]
    assert max(changes) < 0.01  # nothing but weight decay


def test_a_loss_that_is_not_finite() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) * torch.nan

    with pytest.raises(TrainingError, match="the loss is nan"):
        _train(_branches(frozen=True), BranchConfig(PLACES, epochs=1), Broken())


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="weights has 2 numbers for 2 exits"):
        BranchConfig(PLACES, weights=(1.0, 1.0))
    with pytest.raises(ConfigError, match="places is empty"):
        BranchConfig(())
    with pytest.raises(ConfigError, match="network_rate is -1"):
        BranchConfig(PLACES, network_rate=-1)
    network = Network(_Net(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ConfigError, match="2 heads for 1 places"):
        Branches(network, ("stem",), _heads(), frozen=True)
    with pytest.raises(PartitionError, match="did you mean 'body'"):
        Branches(network, ("stem", "boddy"), _heads(), frozen=True)
