"""BottleFit: imitate the features first, then fine-tune on the answers.

Source: Matsubara et al., BottleFit: learning compressed representations in deep neural networks for
effective and efficient split computing, WoWMoM 2022 (arXiv 2201.02693), section IV.
"""

from __future__ import annotations

from dataclasses import dataclass

from splitnet.config import check_not_negative, check_positive
from splitnet.training.blocks import check_widths
from splitnet.training.ghnd import Ghnd
from splitnet.training.loop import Loss
from splitnet.training.recipe import DECODER, ENCODER, TAIL, Batch, Stage, Student, imitation_error


@dataclass(frozen=True, slots=True)
class BottleFitConfig:
    """Sizes, places and lengths.

    Attributes
    ----------
    channels
        Channels of the bottleneck, at 8 bits; 3, 6, 9 and 12 in the paper.
    matched
        Places behind the target that the first stage compares.
    freeze_encoder
        Whether the second stage leaves the encoder as it is, so that it can serve other networks.
    temperature
        Of the distillation.
    """

    channels: int = 6
    matched: tuple[str, ...] = ()
    encoder_widths: tuple[int, ...] = (32, 64)
    decoder_widths: tuple[int, ...] = (64, 48)
    rate: float = 1e-3
    epochs: int = 10
    fine_rate: float = 3e-4
    fine_epochs: int = 10
    freeze_encoder: bool = True
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_positive(self, "channels", "rate", "fine_rate", "temperature")
        check_not_negative(self, "epochs", "fine_epochs")
        check_widths(self.encoder_widths, self.decoder_widths)


class BottleFit(Ghnd):
    """The stage of `Ghnd`, then decoder and network learn to answer as the teacher does."""

    id = "bottlefit"
    Config = BottleFitConfig

    def stages(self, target: str) -> tuple[Stage, ...]:
        """Return both stages, without one of no epochs."""
        config = self.config
        rates = {DECODER: config.fine_rate, TAIL: config.fine_rate}
        if not config.freeze_encoder:
            rates[ENCODER] = config.fine_rate
        fine = Stage("answers", config.fine_epochs, rates, answers=True)
        return (*super().stages(target), *([fine] if fine.epochs else []))

    def loss(self, stage: Stage, student: Student, batch: Batch) -> Loss:
        """Return errors of features in the first stage, of answers in the second."""
        if batch.answers is None:
            return super().loss(stage, student, batch)
        restored, bits = student(batch.source, batch.level)
        total = imitation_error(student, stage, restored, batch, self.config.temperature)
        return Loss(total, {"bytes": bits.mean().item() / 8})
