"""What the recipes with an 8-bit quantiser at the cut share."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from splitnet.training.blocks import Decoder, Encoder, latent_shape
from splitnet.training.bottleneck import quantise
from splitnet.training.recipe import Form, LevelPlan, Student

SIDE_BITS = 64
"""Minimum and step of a sample, float32."""

_EIGHT_BIT: dict[str, Any] = {"id": "affine", "bits": 8}
_CODERS = ({"id": "lz4"}, {"id": "rans", "per_channel": True}, {"id": "rans-neighbours"})

EIGHT_BIT_LEVELS = (
    LevelPlan(
        "8 bit",
        tuple({"id": "pipeline", "codecs": [_EIGHT_BIT, coder]} for coder in _CODERS),
    ),
)


class QuantisedStudent(Student):
    """A latent at 8 bits between the minimum and the maximum of each sample."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.tail = tail

    def cross(self, latent: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return the quantised latent; there is one level."""
        bits = 8 * latent[0].numel() + SIDE_BITS
        return quantise(latent), latent.new_full((len(latent),), float(bits))


def small_student(
    form: Form,
    tail: nn.Module,
    channels: int,
    encoder_widths: tuple[int, ...],
    decoder_widths: tuple[int, ...],
) -> QuantisedStudent:
    """Return a student with a new encoder and decoder of these widths.

    Raises
    ------
    ConfigError
        The bottleneck is wider than its source, or the widths do not lead to the target's size.
    """
    latent = latent_shape(form, channels, encoder_widths, decoder_widths)
    return QuantisedStudent(
        Encoder(form.source[0], channels, encoder_widths),
        Decoder(latent, form.target, decoder_widths, form.positive),
        tail,
    )
