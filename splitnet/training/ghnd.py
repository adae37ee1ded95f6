"""Generalised head network distillation: a small head imitates the network at several places.

Source: Matsubara and Levorato, Neural compression and filtering for edge-assisted real-time object
detection in challenged networks, ICPR 2020, section III-B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from splitnet.config import check_not_negative, check_positive
from splitnet.training.blocks import check_widths
from splitnet.training.loop import Loss
from splitnet.training.quantised import EIGHT_BIT_LEVELS, small_student
from splitnet.training.recipe import (
    DECODER,
    ENCODER,
    Batch,
    Form,
    LevelPlan,
    Recipe,
    Stage,
    Student,
    check_image,
)


@dataclass(frozen=True, slots=True)
class GhndConfig:
    """Sizes, places and lengths.

    Attributes
    ----------
    channels
        Channels of the bottleneck, at 8 bits.
    matched
        Places behind the target at which the frozen network must see what it would have seen.
    encoder_widths, decoder_widths
        As `EntropicConfig` has them.
    rate
        Peak learning rate.
    """

    channels: int = 6
    matched: tuple[str, ...] = ()
    encoder_widths: tuple[int, ...] = (32, 64)
    decoder_widths: tuple[int, ...] = (64, 48)
    rate: float = 1e-3
    epochs: int = 10

    def __post_init__(self) -> None:
        check_positive(self, "channels", "rate")
        check_not_negative(self, "epochs")
        check_widths(self.encoder_widths, self.decoder_widths)


class Ghnd(Recipe):
    """One stage: the sum of the relative errors at the target and at all matched places."""

    id = "ghnd"
    Config: ClassVar[type[Any]] = GhndConfig

    def student(self, form: Form, tail: nn.Module) -> Student:
        """Return a new student."""
        check_image(form)
        config = self.config
        return small_student(
            form, tail, config.channels, config.encoder_widths, config.decoder_widths
        )

    def stages(self, target: str) -> tuple[Stage, ...]:
        """Return the stage in front of a frozen network."""
        rates = {ENCODER: self.config.rate, DECODER: self.config.rate}
        stage = Stage("features", self.config.epochs, rates, (target, *self.config.matched))
        return (stage,) if stage.epochs else ()

    def loss(self, stage: Stage, student: Student, batch: Batch) -> Loss:
        """Return the summed errors."""
        restored, bits = student(batch.source, batch.level)
        error = student.feature_error(stage, restored, batch)
        return Loss(error, {"bytes": bits.mean().item() / 8})

    def levels(self) -> tuple[LevelPlan, ...]:
        """Return the one level of 8 bits."""
        return EIGHT_BIT_LEVELS
