"""Networks of which figures are published everywhere, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

CLASSES = 1000


def mobilenet_v1() -> nn.Module:
    """MobileNet 1.0 (Howard et al., arXiv 1704.04861, Table 1)."""
    layers = [_conv(3, 32, 3, 2)]
    widths = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    widths += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    channels = 32
    for width, stride in widths:
        layers += [_conv(channels, channels, 3, stride, channels), _conv(channels, width, 1)]
        channels = width
    return nn.Sequential(*layers, _Head(channels))


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1 (Iandola et al., arXiv 1602.07360, and its release 1.1)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), _pool(), _Fire(64, 16, 64)]
    layers += [_Fire(128, 16, 64), _pool(), _Fire(128, 32, 128), _Fire(256, 32, 128), _pool()]
    layers += [_Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)]
    end = [nn.Conv2d(512, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *end)


def resnet(depths: tuple[int, ...], expansion: int) -> nn.Module:
    """ResNet (He et al., arXiv 1512.03385, Table 1): expansion 1 plain blocks, 4 bottlenecks."""
    layers: list[nn.Module] = [_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, depth in enumerate(depths):
        inner = 64 * 2**stage
        for block in range(depth):
            stride = 2 if block == 0 and stage > 0 else 1
            layers.append(_Residual(channels, inner, inner * expansion, stride))
            channels = inner * expansion
    return nn.Sequential(*layers, _Head(channels))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "mobilenet_v1": mobilenet_v1,
    "squeezenet": squeezenet,
    "resnet18": partial(resnet, (2, 2, 2, 2), 1),
    "resnet50": partial(resnet, (3, 4, 6, 3), 4),
}


def _conv(
    channels: int, width: int, size: int, stride: int = 1, groups: int = 1, *, active: bool = True
) -> nn.Module:
    layer = nn.Conv2d(channels, width, size, stride, size // 2, groups=groups, bias=False)
    parts = [layer, nn.BatchNorm2d(width), *([nn.ReLU()] if active else [])]
    return nn.Sequential(*parts)


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


class _Head(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(x.mean((2, 3)))
        return found


class _Fire(nn.Module):
    def __init__(self, channels: int, squeezed: int, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.small = nn.Conv2d(squeezed, width, 1)
        self.large = nn.Conv2d(squeezed, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.small(x), self.large(x)], 1))


class _Residual(nn.Module):
    def __init__(self, channels: int, inner: int, width: int, stride: int) -> None:
        super().__init__()
        if width == inner:
            self.body: nn.Module = nn.Sequential(
                _conv(channels, inner, 3, stride), _conv(inner, width, 3, active=False)
            )
        else:
            self.body = nn.Sequential(
                _conv(channels, inner, 1),
                _conv(inner, inner, 3, stride),
                _conv(inner, width, 1, active=False),
            )
        same = channels == width and stride == 1
        self.skip = nn.Identity() if same else _conv(channels, width, 1, stride, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))
