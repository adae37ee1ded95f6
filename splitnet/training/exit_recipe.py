"""The recipe ``exits``: several exits that learn together, on a frozen network or with it.

It makes heads and no learned path, so it is no `Recipe` of stages and levels; the loop is that of
`splitnet.training.branches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.runtime.answers import load_confidence
from splitnet.training.branches import BranchConfig
from splitnet.training.heads import WORK_SHARE, make_head


@dataclass(frozen=True, slots=True)
class ExitsConfig:
    """Where exits stand and how they learn: the table ``[exits]`` of a recipe's file.

    Attributes
    ----------
    places
        Where each head reads: ``input``, paths of modules or ids of cuts.
    heads
        Callable that returns untrained heads in an `nn.ModuleList`, in the order of `places`;
        ``None`` makes small ones.
    work
        What such a head may cost of the network's FLOPs.
    epochs, rate, network_rate, weights, temperature
        As in `BranchConfig`.
    measure
        Confidence function by which the results are drawn: ``max-softmax``, ``entropy``,
        ``margin``.
    """

    places: tuple[str, ...]
    heads: str | None = None
    work: float = WORK_SHARE
    epochs: int = 24
    rate: float = 3e-3
    network_rate: float = 0.0
    weights: tuple[float, ...] = ()
    temperature: float = 2.0
    measure: str = "max-softmax"

    def __post_init__(self) -> None:
        self.branches(1)
        load_confidence(self.measure)
        if not 0 < self.work < 1:
            raise ConfigError(f"work is {self.work:g}, must be between 0 and 1")
        twice = {place for place in self.places if self.places.count(place) > 1}
        if twice:
            raise ConfigError(f"places names {', '.join(sorted(twice))} twice")

    def branches(self, batch: int) -> BranchConfig:
        """Return the settings of the loop."""
        return BranchConfig(
            self.places,
            self.epochs,
            batch,
            self.rate,
            self.network_rate,
            self.weights,
            self.temperature,
        )


class Exits:
    """The recipe as the registry knows it; `config` is its dataclass."""

    id: ClassVar[str] = "exits"
    Config: ClassVar[type[Any]] = ExitsConfig

    def __init__(self, config: ExitsConfig) -> None:
        self.config = config

    def make_heads(
        self, tensors: Sequence[Tensor], answers: Tensor, network_flops: int, seed: int
    ) -> nn.ModuleList:
        """Return small untrained heads for the tensors ``(1, ...)`` of the places."""
        return nn.ModuleList(
            make_head(x.shape[1:], answers.shape[1:], self.config.work * network_flops, seed)
            for x in tensors
        )
