"""The baseline: an autoencoder of the tensor at a cut, with the network frozen on both sides."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from splitnet.config import check_not_negative, check_positive
from splitnet.errors import ConfigError
from splitnet.training.bottleneck import Bottleneck
from splitnet.training.loop import Loss
from splitnet.training.quantised import EIGHT_BIT_LEVELS, QuantisedStudent
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
    relative_error,
)


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """Rate and length; the form follows from the tensor (see `Bottleneck`)."""

    rate: float = 5e-3
    epochs: int = 10

    def __post_init__(self) -> None:
        check_positive(self, "rate")
        check_not_negative(self, "epochs")


class Autoencoder(Recipe):
    """One stage: restore the tensor; source and target are the same place."""

    id = "autoencoder"
    Config = AutoencoderConfig

    def student(self, form: Form, tail: nn.Module) -> Student:
        """Return a new student."""
        check_image(form)
        if form.source != form.target or len(form.source) != 3:
            raise ConfigError("an autoencoder restores what it reads: source and target must agree")
        channels, height, width = form.source
        own = Bottleneck((channels, height, width), form.positive)
        return QuantisedStudent(own.encoder, own.decoder, tail)

    def stages(self, target: str) -> tuple[Stage, ...]:
        """Return the only stage."""
        rates = {ENCODER: self.config.rate, DECODER: self.config.rate}
        stage = Stage("features", self.config.epochs, rates, (target,))
        return (stage,) if stage.epochs else ()

    def loss(self, stage: Stage, student: Student, batch: Batch) -> Loss:
        """Return the relative error."""
        restored, bits = student(batch.source, batch.level)
        error = relative_error(restored, batch.features[0])
        return Loss(error, {"bytes": bits.mean().item() / 8})

    def levels(self) -> tuple[LevelPlan, ...]:
        """Return the one level of 8 bits."""
        return EIGHT_BIT_LEVELS
