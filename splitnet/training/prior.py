"""A learned prior: how many bits each symbol of a latent takes under a static entropy coder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

COMPONENTS = 3
LEAST = 1e-6
"""Smallest probability that the loss distinguishes; a coder's escape costs no more."""


class Prior(nn.Module):
    """Factorised: a mixture of logistics for each channel, integrated over a quantiser step.

    Source: Balle et al., Variational image compression with a scale hyperprior, ICLR 2018,
    section 6.1 (the factorised model); Salimans et al., PixelCNN++, ICLR 2017, section 2.1 (the
    mixture).
    """

    def __init__(self, channels: int, components: int = COMPONENTS) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.linspace(-1, 1, components).repeat(channels, 1))
        self.scale = nn.Parameter(torch.zeros(channels, components))
        self.weight = nn.Parameter(torch.zeros(channels, components))

    @torch.no_grad()
    def start(self, latent: Tensor) -> None:
        """Begin near the spread of a latent ``(N, C, H, W)``: a peak at zero with wide tails."""
        spread = latent.std((0, 2, 3))[:, None]
        centre = torch.linspace(-1, 1, self.mean.shape[1], device=spread.device)
        self.mean.copy_(0.4 * spread * centre)
        self.scale.copy_(torch.log((0.15 + 0.45 * centre.abs()) * spread + 0.1))

    def bits(self, latent: Tensor, step: Tensor) -> Tensor:
        """Return the bits of each channel of each sample: ``(N, C, H, W)`` to ``(N, C)``.

        Parameters
        ----------
        step
            ``(N,)``, the quantiser step of each sample: the density is continuous, so that one
            prior knows the rate of every step.
        """
        count, channels = latent.shape[:2]
        values = latent.transpose(0, 1).reshape(channels, -1, 1)
        half = (step / 2).repeat_interleave(values.shape[1] // count)[None, :, None]
        narrow, mean = torch.exp(-self.scale)[:, None], self.mean[:, None]
        mass = torch.sigmoid((values + half - mean) * narrow)
        mass = mass - torch.sigmoid((values - half - mean) * narrow)
        mass = (mass * torch.softmax(self.weight, 1)[:, None]).sum(-1).clamp_min(LEAST)
        return (-torch.log2(mass)).reshape(channels, count, -1).sum(-1).t()
