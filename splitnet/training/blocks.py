"""Small convolutional encoders and decoders of learned paths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, log2

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.training.recipe import Form, Shape, check_width


def activation() -> nn.Module:
    """Return the activation between convolutions: one that never dies."""
    return nn.LeakyReLU(0.1)


class Residual(nn.Module):
    """Two convolutions beside the identity.

    Parameters
    ----------
    identity
        Whether it begins as the identity, so that a trained network can be made deeper by it.
    """

    def __init__(self, width: int, identity: bool = False) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, 1, 1)
        self.b = nn.Conv2d(width, width, 3, 1, 1)
        self.act = activation()
        if identity:
            for parameter in self.b.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        change: Tensor = self.b(self.act(self.a(self.act(x))))
        return x + change


class Encoder(nn.Module):
    """Halves height and width once for each of `widths`, then reduces the channels.

    The latent needs no scale of its own: the quantiser's step is 1.

    Parameters
    ----------
    linear
        Whether a linear transform of square blocks is added, as an image codec has it; the other
        convolutions then learn what it misses.
    blocks
        Residual blocks behind the last halving; each begins as the identity.
    """

    def __init__(
        self,
        channels: int,
        latent: int,
        widths: Sequence[int],
        linear: bool = False,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        self.halvings = len(widths)
        block = 2 ** len(widths)
        self.linear = nn.Conv2d(channels, latent, block, block) if linear else None
        for number, (before, width) in enumerate(pairwise([channels, *widths]), 1):
            size = 5 if number == 1 else 3
            self.add_module(f"down{number}", nn.Conv2d(before, width, size, 2, size // 2))
        self.mid = nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)
        self.blocks = nn.Sequential(*(Residual(widths[-1], identity=True) for _ in range(blocks)))
        self.out = nn.Conv2d(widths[-1], latent, 1)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Return the latent ``(N, C, H, W)``."""
        transformed = None if self.linear is None else self.linear(x)
        for number in range(1, self.halvings + 1):
            x = self.act(self.get_submodule(f"down{number}")(x))
        x = x + self.act(self.mid(x))
        latent: Tensor = self.out(self.blocks(x))
        return latent if transformed is None else transformed + latent


class Decoder(nn.Module):
    """Restores a target ``(C, H, W)`` from a latent of equal or smaller height and width.

    Parameters
    ----------
    widths
        Channels at the latent's size, and behind each doubling of height and width.
    """

    def __init__(self, latent: Shape, target: Shape, widths: Sequence[int], positive: bool) -> None:
        super().__init__()
        self.size = target[1:]
        layers = _widened(latent[0], widths)
        layers.append(nn.Conv2d(widths[-1], target[0], 3, 1, 1))
        layers.append(nn.ReLU() if positive else nn.Identity())
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Return the target; what doubling adds to an odd size is cut off."""
        restored: Tensor = self.body(z)
        return restored[:, :, : self.size[0], : self.size[1]]


class BlockDecoder(nn.Module):
    """Undoes a linear transform of square blocks, and adds what it has learned that this misses.

    Parameters
    ----------
    widths
        As `Decoder` has them.
    """

    def __init__(self, latent: Shape, target: Shape, widths: Sequence[int]) -> None:
        super().__init__()
        block, channels = 2 ** (len(widths) - 1), target[0]
        self.linear = nn.ConvTranspose2d(latent[0], channels, block, block)
        self.body = nn.Sequential(*_widened(latent[0], widths))
        self.join = nn.Conv2d(widths[-1] + channels, widths[-1], 3, 1, 1)
        self.out = nn.Conv2d(widths[-1], channels, 3, 1, 1)
        self.act = activation()

    def forward(self, z: Tensor) -> Tensor:
        """Return the target."""
        plain: Tensor = self.linear(z)
        joined = self.act(self.join(torch.cat([self.body(z), plain], 1)))
        missing: Tensor = self.out(joined)
        return plain + missing


def _widened(latent: int, widths: Sequence[int]) -> list[nn.Module]:
    """Return layers from a latent to its size doubled once for each width but the first."""
    layers: list[nn.Module] = [nn.Conv2d(latent, widths[0], 3, 1, 1)]
    layers += [Residual(widths[0]), Residual(widths[0]), activation()]
    for number, (before, width) in enumerate(pairwise(widths), 1):
        layers += [nn.Conv2d(before, 4 * width, 1), nn.PixelShuffle(2)]
        if number < len(widths) - 1:
            layers += [nn.Conv2d(width, width, 3, 1, 1), Residual(width), activation()]
    return layers


def block_transform(images: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the best linear transform of square blocks, and the mean block.

    The rows of the transform ``(C * size**2, C, size, size)`` are orthonormal, in the order of the
    variance that they keep (Karhunen and Loeve; the principal components of the blocks).
    """
    channels = images.shape[1]
    blocks = images.double().unfold(2, size, size).unfold(3, size, size)
    rows = blocks.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * size**2)
    mean = rows.mean(0)
    _, vectors = torch.linalg.eigh(torch.cov((rows - mean).t()))
    transform = vectors.flip(1).t().reshape(-1, channels, size, size)
    return transform.float(), mean.reshape(channels, size, size).float()


def check_widths(*widths: tuple[int, ...]) -> None:
    """Raise `ConfigError` unless each list names at least one width, all of them positive."""
    if not all(widths) or min(width for each in widths for width in each) < 1:
        raise ConfigError("encoder_widths and decoder_widths must name widths of at least 1")


def halved(side: int, times: int) -> int:
    """Return a side behind `times` convolutions of stride 2 that keep the border."""
    for _ in range(times):
        side = (side + 1) // 2
    return side


def doublings(latent: Shape, target: Shape) -> int:
    """Return how often a latent is doubled to be at least as large as the target."""
    ratio = max(want / have for want, have in zip(target[1:], latent[1:], strict=True))
    return max(0, ceil(log2(ratio)))


def latent_shape(
    form: Form, channels: int, encoder_widths: Sequence[int], decoder_widths: Sequence[int]
) -> Shape:
    """Return the shape of the latent between an encoder and a decoder of these widths.

    Raises
    ------
    ConfigError
        It is wider than the source, or the decoder does not lead to the target's size.
    """
    height, side = (halved(size, len(encoder_widths)) for size in form.source[1:])
    latent = (channels, height, side)
    check_width(latent, form, "channels")
    needed = doublings(latent, form.target) + 1
    if len(decoder_widths) != needed:
        raise ConfigError(
            f"decoder_widths has {len(decoder_widths)} numbers; from {height}x{side} to "
            f"{form.target[1]}x{form.target[2]} it needs {needed}"
        )
    return latent
