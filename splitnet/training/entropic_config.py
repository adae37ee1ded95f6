"""Settings of the entropic recipe, checked as far as they go by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from math import inf
from typing import Any

from splitnet.codecs.making import make_codec
from splitnet.config import check_not_negative, check_positive
from splitnet.errors import CodecError, ConfigError
from splitnet.training.blocks import check_widths

_NESTED = 1e-3  # by which a step may miss a multiple of another


@dataclass(frozen=True, slots=True)
class EntropicConfig:
    """Sizes, rates and lengths.

    Attributes
    ----------
    channels
        Channels of the latent at each level, from the fewest bytes to the most: where they rise and
        the step stays, a level is a prefix of the next one.
    steps
        Quantiser step of each level, never rising; empty: 1 for all.
    level_weights
        How often each of `channels` is trained, relative to the others; empty: alike.
    embedded
        Levels, numbered from 0 in the order of `channels`, that also make one level together: each
        is a refinement of the one in front, sent where that is not enough (docs/exits.md, "Stops").
        Their steps are odd multiples of each other, their channels never fall.
    encoder_widths
        Channels of the encoder, one a halving of height and width.
    encoder_blocks
        Residual blocks of the encoder behind the last halving; each begins as the identity.
    decoder_widths
        Channels of the decoder at the latent's size and behind each doubling.
    block_step
        Above 0, encoder and decoder begin as the best linear transform of square blocks, quantised
        by this step: an image codec that the training improves. Source and target are then alike.
    matched
        Places behind the target that the first stage compares too.
    hints
        Those that the later stages compare beside the answers.
    hint_weight
        Weight of their relative error beside the distillation's.
    fixed_statistics
        Whether the network's batch normalisation keeps its statistics in the later stages.
    rate_weight
        Price of a byte in the loss where the step is 1. It grows with the square of the step, as
        the distortion of a uniform quantiser does.
    temperature
        Of the distillation.
    rate, tail_rate
        Peak learning rates of the new parts and of the network behind them; with a `tail_rate` of 0
        it stays as it is, and a bundle shares its segments.
    feature_epochs
        Of the first stage: encoder and decoder restore the target, the network is not run.
    joint_epochs
        Of the second: everything learns to answer as the teacher does.
    decoder_epochs
        Of the third: the same with a frozen encoder.
    """

    channels: tuple[int, ...] = (4, 8, 12, 18, 24, 32)
    steps: tuple[float, ...] = ()
    level_weights: tuple[float, ...] = ()
    embedded: tuple[int, ...] = ()
    encoder_widths: tuple[int, ...] = (48, 72)
    encoder_blocks: int = 0
    decoder_widths: tuple[int, ...] = (96, 48, 24)
    block_step: float = 0.0
    matched: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    hint_weight: float = 1.0
    fixed_statistics: bool = False
    rate_weight: float = 1e-3
    temperature: float = 2.0
    rate: float = 1e-3
    tail_rate: float = 2e-4
    feature_epochs: int = 4
    joint_epochs: int = 16
    decoder_epochs: int = 4

    def __post_init__(self) -> None:
        check_positive(self, "temperature", "rate")
        for name in ("steps", "level_weights"):
            given: tuple[float, ...] = getattr(self, name)
            if given and len(given) != len(self.channels):
                raise ConfigError(
                    f"{name} has {len(given)} numbers, channels has {len(self.channels)}"
                )
        if not self.channels or not all(map(_rising, self._prefixes())):
            raise ConfigError(
                f"channels is {self.channels}, must rise from at least 1 where the step stays"
            )
        steps = self.step_of_level
        if not all(0 < step < inf for step in steps) or any(a < b for a, b in pairwise(steps)):
            raise ConfigError(f"steps is {self.steps}, must be above 0, finite, and never rise")
        self._check_embedded()
        check_not_negative(self, "rate_weight", "block_step", "hint_weight", "tail_rate")
        check_not_negative(self, "encoder_blocks", "feature_epochs", "joint_epochs")
        check_not_negative(self, "decoder_epochs")
        weights = self.level_weights or (1.0,)
        if not all(0 <= weight < inf for weight in weights) or not any(weights):
            raise ConfigError(
                f"level_weights is {weights}, must be finite, not negative, and one above 0"
            )
        check_widths(self.encoder_widths, self.decoder_widths)

    def _check_embedded(self) -> None:
        if not self.embedded:
            return
        if not set(self.embedded) <= set(range(len(self.channels))):
            raise ConfigError(
                f"embedded is {self.embedded}, must name levels from 0 to {len(self.channels) - 1}"
            )
        steps = [self.step_of_level[level] for level in self.embedded]
        multiples = [step / steps[-1] for step in steps]
        if any(abs(multiple - round(multiple)) > _NESTED for multiple in multiples):
            raise ConfigError(f"embedded: the steps {steps} are not whole multiples of the last")
        try:
            make_codec(self.embedded_codec)
        except CodecError as error:
            raise ConfigError(f"embedded is {self.embedded}: {error}") from error

    @property
    def embedded_codec(self) -> dict[str, Any]:
        """Configuration of the codec of the level that `embedded` asks for."""
        step = self.step_of_level[self.embedded[-1]]
        return {
            "id": "embedded",
            "step": step,
            "scales": [round(self.step_of_level[level] / step) for level in self.embedded],
            "channels": [self.channels[level] for level in self.embedded],
        }

    @property
    def step_of_level(self) -> tuple[float, ...]:
        """Quantiser step of each of `channels`."""
        return self.steps or (1.0,) * len(self.channels)

    def _prefixes(self) -> list[tuple[int, ...]]:
        """Return the channels of levels that share a step."""
        levels = zip(self.step_of_level, self.channels, strict=True)
        return [tuple(c for _, c in group) for _, group in groupby(levels, lambda level: level[0])]


def _rising(channels: tuple[int, ...]) -> bool:
    return all(a < b for a, b in pairwise((0, *channels)))
