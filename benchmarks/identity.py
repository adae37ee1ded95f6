"""A network that changes nothing, with a cut in the middle, so that only overhead is left."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

SHAPE = (1, 32, 80)
"""2,560 float32 values: 10,240 bytes."""


class Identity(nn.Module):
    """Two pools of one pixel: operators that an exporter keeps and that copy their input."""

    def __init__(self) -> None:
        super().__init__()
        self.head = _Copy()
        self.tail = _Copy()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (N, 1, 32, 80) as (N, 2560)."""
        copied: Tensor = self.tail(self.head(x))
        return copied.flatten(1)


class _Copy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 1)


def identity() -> nn.Module:
    """Return the network."""
    return Identity().eval()
