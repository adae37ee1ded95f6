"""The running average of the weights of what is trained."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

AVERAGE = 0.998
"""Weight of the past in each step, once there is enough of a past."""


Trained = TypeVar("Trained", bound=nn.Module)


class Averaged(nn.Module, Generic[Trained]):
    """A student and the running average of its weights, which is what counts in the end.

    Attributes
    ----------
    learning
        Parts of the student that learn.
    fixed_statistics
        Whether their batch normalisation goes on with the statistics that it has.

    Source: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992.
    """

    def __init__(self, student: Trained) -> None:
        super().__init__()
        self.student: Trained = student
        self.average: Trained = copy.deepcopy(student).requires_grad_(False).eval()
        self.learning: list[nn.Module] = []
        self.fixed_statistics = False

    def train(self, mode: bool = True) -> Averaged[Trained]:
        """Put what learns into training mode; whatever is frozen stays in eval mode."""
        super().train(False)
        self.student.training = mode
        for part in self.learning:
            part.train(mode)
            for layer in part.modules() if self.fixed_statistics else ():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.train(False)
        return self

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Let the average follow the student."""
        kept = min(AVERAGE, (1 + step) / (10 + step))
        own = self.student.state_dict().values()
        for mean, new in zip(self.average.state_dict().values(), own, strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 1 - kept)
            else:
                mean.copy_(new)
