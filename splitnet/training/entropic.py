"""The entropic recipe: rate and distortion traded under a learned prior, several rates at once.

Sources: Matsubara et al., Supervised compression for resource-constrained edge computing systems,
WACV 2022 (Entropic Student: distillation under a factorised prior, then the network behind a
frozen encoder is fine-tuned); Furutanpey et al., FrankenSplit, TMC 2024 (a shallow encoder that
restores early features); Rippel et al., Learning ordered representations with nested dropout,
ICML 2014 (the levels); Romero et al., FitNets, ICLR 2015 (hints).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from splitnet.codecs.embedded import LARGEST_SYMBOL
from splitnet.errors import ConfigError
from splitnet.training.blocks import (
    BlockDecoder,
    Decoder,
    Encoder,
    block_transform,
    latent_shape,
)
from splitnet.training.entropic_config import EntropicConfig
from splitnet.training.loop import Loss
from splitnet.training.prior import Prior
from splitnet.training.recipe import (
    DECODER,
    ENCODER,
    TAIL,
    Batch,
    Form,
    LevelPlan,
    Recipe,
    Stage,
    Student,
    check_image,
    imitation_error,
)

PRIOR = "prior"
_NEAR_ZERO = 0.01

_CODERS: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"id": "rans", "per_channel": True},),
    ({"id": "rans-blocks"},),
    ({"id": "zigzag", "centre": LARGEST_SYMBOL}, {"id": "rans-neighbours"}),
)


class EntropicStudent(Student):
    """A latent in whole steps under a prior; a level has its step and keeps its first channels."""

    added = ("encoder.blocks.",)

    def __init__(self, config: EntropicConfig, form: Form, tail: nn.Module) -> None:
        super().__init__()
        width = max(config.channels)
        widths = config.encoder_widths, config.decoder_widths
        latent = latent_shape(form, width, *widths)
        linear = config.block_step > 0
        if linear:
            _check_blocks(form, len(config.encoder_widths))
        self.encoder = Encoder(
            form.source[0], width, config.encoder_widths, linear, config.encoder_blocks
        )
        self.decoder = (
            BlockDecoder(latent, form.target, config.decoder_widths)
            if linear
            else Decoder(latent, form.target, config.decoder_widths, form.positive)
        )
        self.prior = Prior(width)
        self.tail = tail
        self._config = config
        self._channels = config.channels[::-1]
        self._steps = config.step_of_level[::-1]

    def cross(self, latent: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first channels in whole steps; bits are counted with noise while training.

        Source: Balle et al., End-to-end optimized image compression, ICLR 2017, section 3.1
        (noise in place of rounding); the decoder sees rounded values, which pass gradients.
        """
        level = level.to(latent.device)
        kept = torch.tensor(self._channels, device=latent.device)[level]
        step = torch.tensor(self._steps, device=latent.device)[level]
        mask = torch.arange(latent.shape[1], device=latent.device) < kept[:, None]
        wide = step[:, None, None, None]
        rounded = wide * torch.round(latent / wide).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
        if self.training and self.encoder.training:
            counted = latent + wide * (torch.rand_like(latent) - 0.5)
            rounded = latent + (rounded - latent).detach()
        else:
            counted = rounded
        bits = (self.prior.bits(counted, step) * mask).sum(1)
        return rounded * mask[:, :, None, None], bits

    def draw(self, count: int) -> Tensor:
        """Return levels drawn by their weights."""
        weights = torch.tensor(self._config.level_weights or (1.0,) * len(self._channels))
        return torch.multinomial(weights.flip(0), count, replacement=True)

    @torch.no_grad()
    def start(self, source: Tensor) -> None:
        """Begin as a linear codec, if that was asked for: what is learned begins near zero."""
        step = self._config.block_step
        if not step:
            return
        encoder, decoder = self.encoder, self.decoder
        assert isinstance(encoder, Encoder) and isinstance(decoder, BlockDecoder)
        assert encoder.linear is not None
        assert encoder.linear.bias is not None and decoder.linear.bias is not None
        rows, mean = block_transform(source, encoder.linear.kernel_size[0])
        rows = rows[: max(self._channels)]
        encoder.linear.weight.copy_(rows / step)
        encoder.linear.bias.copy_(-(rows * mean).sum((1, 2, 3)) / step)
        decoder.linear.weight.copy_(rows * step)
        decoder.linear.bias.copy_(mean.mean((1, 2)))
        for layer in (encoder.out, decoder.out):
            layer.weight.mul_(_NEAR_ZERO)
            assert layer.bias is not None
            layer.bias.zero_()
        self.prior.start(encoder.linear(source))


def _check_blocks(form: Form, halvings: int) -> None:
    """Raise `ConfigError` unless source and target are alike and made of whole blocks."""
    block = 2**halvings
    if form.source != form.target or any(side % block for side in form.source[1:]):
        raise ConfigError(
            f"block_step needs a source and a target of one shape, with height and width in whole "
            f"blocks of {block}; they are {form.source} and {form.target}: give block_step = 0"
        )


class Entropic(Recipe):
    """Features first, then answers, then answers behind a frozen encoder."""

    id = "entropic"
    Config = EntropicConfig

    def student(self, form: Form, tail: nn.Module) -> Student:
        """Return a new student for images or features."""
        check_image(form)
        return EntropicStudent(self.config, form, tail)

    def stages(self, target: str) -> tuple[Stage, ...]:
        """Return the three stages, without those of no epochs."""
        config: EntropicConfig = self.config
        new = {ENCODER: config.rate, PRIOR: config.rate, DECODER: config.rate}
        tail = {TAIL: config.tail_rate} if config.tail_rate else {}
        everything = {**new, **tail}
        behind = {DECODER: config.rate, **tail}
        hints = (target, *config.hints) if config.hints else ()
        found = (
            Stage("features", config.feature_epochs, new, (target, *config.matched)),
            *(
                Stage(name, epochs, rates, hints, True, config.fixed_statistics)
                for name, epochs, rates in (
                    ("answers", config.joint_epochs, everything),
                    ("frozen encoder", config.decoder_epochs, behind),
                )
            ),
        )
        return tuple(stage for stage in found if stage.epochs)

    def loss(self, stage: Stage, student: Student, batch: Batch) -> Loss:
        """Return distortion plus priced bytes; nothing is paid for what no longer changes."""
        config: EntropicConfig = self.config
        restored, bits = student(batch.source, batch.level)
        if batch.answers is None:
            distortion = student.feature_error(stage, restored, batch)
        else:
            distortion = imitation_error(
                student, stage, restored, batch, config.temperature, config.hint_weight
            )
        size = bits / 8
        figures = {"distortion": distortion.item(), "bytes": size.mean().item()}
        if ENCODER not in stage.rates:
            return Loss(distortion, figures)
        step = torch.tensor(config.step_of_level[::-1], device=size.device)
        price = config.rate_weight * step[batch.level.to(size.device)] ** 2
        return Loss(distortion + (price * size).mean(), figures)

    def levels(self) -> tuple[LevelPlan, ...]:
        """Return the levels, the one of most bytes first."""
        config: EntropicConfig = self.config
        levels = zip(config.channels[::-1], config.step_of_level[::-1], strict=True)
        return tuple(_level(channels, step) for channels, step in levels)

    def further_levels(self) -> tuple[LevelPlan, ...]:
        """Return the level of a base and refinements, if it is asked for."""
        config: EntropicConfig = self.config
        if not config.embedded:
            return ()
        return (LevelPlan(f"{len(config.embedded)} parts", (config.embedded_codec,)),)


def _level(channels: int, step: float) -> LevelPlan:
    """Return the level that sends the first channels in whole steps."""
    name = f"{channels} channel{'s' if channels > 1 else ''}"
    front: tuple[dict[str, Any], ...] = (
        {"id": "first-channels", "channels": channels},
        {"id": "symmetric", "bits": 8, "largest": [LARGEST_SYMBOL * step]},
    )
    return LevelPlan(
        name if step == 1 else f"{name}, step {step:g}",
        tuple({"id": "pipeline", "codecs": [*front, *coder]} for coder in _CODERS),
    )
