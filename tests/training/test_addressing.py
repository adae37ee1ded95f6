"""Places of an unmodified network, and the parts between them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from splitnet.errors import ModelError, PartitionError
from splitnet.training.addressing import INPUT, OUTPUT, Network, run_part


class Residual(nn.Module):
    """A sum of two ways, and a chain behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.way = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.way(x))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


@pytest.fixture
def residual() -> Network:
    torch.manual_seed(0)
    return Network(Residual().eval(), torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("place", [INPUT, "stem", "stem.2:relu:0", "add:0", "relu:0", "head"])
def test_two_parts_are_the_network(residual: Network, place: str) -> None:
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        (found,) = run_part(residual.part(INPUT, [place]), x)
        (answers,) = run_part(residual.part(place, [OUTPUT]), found)
        assert torch.equal(answers, residual.module(x))


def test_a_part_ends_at_several_places(residual: Network) -> None:
    with torch.inference_mode():
        stem, added = run_part(residual.part(INPUT, ["stem", "add:0"]), residual.example)
        answers, again = run_part(residual.part("stem", [OUTPUT, "add:0"]), stem)
    assert torch.equal(added, again) and answers.shape == (1, 5)


def test_a_part_has_its_own_weights_under_the_old_names(residual: Network) -> None:
    part = residual.part("stem", [OUTPUT])
    assert set(part.state_dict()) == {"way.weight", "way.bias", "head.weight", "head.bias"}
    part.get_parameter("head.bias").data += 1
    head = residual.module.get_parameter("head.bias")
    assert not torch.equal(part.get_parameter("head.bias"), head)


def test_an_unknown_place_suggests_the_nearest(residual: Network) -> None:
    with pytest.raises(PartitionError, match="no place 'sten' \\(did you mean 'stem'"):
        residual.check("sten")


def test_a_branch_is_no_entry(residual: Network) -> None:
    with pytest.raises(PartitionError, match="behind 'way' also needs a tensor from in front"):
        residual.part("way", [OUTPUT])


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x + 1


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Deciding(), "must not decide on the content"),
        (Two(), "takes 2 inputs"),
        (Pair(), "returns several tensors"),
    ],
)
def test_what_cannot_be_followed_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Network(module, torch.ones(1, 3))
