"""The baseline that needs no encoder: images as files, and a network that has learned to read them.

Source: Dodge and Karam, Understanding how image quality affects deep neural networks, QoMEX 2016
(what compression costs), and Ehrlich et al., Analyzing and mitigating JPEG compression defects in
deep learning, ICCVW 2021 (what fine-tuning regains).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from splitnet.codecs import header_of, make_codec
from splitnet.config import check_not_negative, check_positive
from splitnet.errors import ConfigError
from splitnet.training.loop import Loss
from splitnet.training.recipe import (
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


@dataclass(frozen=True, slots=True)
class ImageCodecConfig:
    """Files, and the length of the training.

    Attributes
    ----------
    codec
        JSON configuration of a codec of images without its quality: WebP with the greatest effort.
    qualities
        Of each level, from the fewest bytes to the most; all are trained alike.
    scale, mean, std
        The preprocessing that is undone, see the codec ``pixels``.
    epochs, rate, temperature
        Of the distillation into the network.
    hints, hint_weight, fixed_statistics
        As those of the recipe ``entropic``.
    """

    codec: str = "webp"
    qualities: tuple[int, ...] = (20, 40, 60, 75, 85, 92)
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    epochs: int = 16
    rate: float = 1e-4
    temperature: float = 2.0
    hints: tuple[str, ...] = ()
    hint_weight: float = 1.0
    fixed_statistics: bool = False

    def __post_init__(self) -> None:
        check_positive(self, "rate", "temperature")
        if self.codec not in EFFORT:
            raise ConfigError(f"codec is {self.codec!r}, must be one of {', '.join(EFFORT)}")
        if not self.qualities or any(a >= b for a, b in pairwise(self.qualities)):
            raise ConfigError(f"qualities is {self.qualities}, must rise and hold at least one")
        check_not_negative(self, "hint_weight", "epochs")

    def levels(self) -> tuple[dict[str, Any], ...]:
        """Return the codec of each level, the one of most bytes first."""
        pixels = {
            "id": "pixels",
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        files = ({"id": self.codec, **EFFORT[self.codec], "quality": q} for q in self.qualities)
        return tuple({"id": "pipeline", "codecs": [pixels, file]} for file in files)[::-1]


EFFORT: dict[str, dict[str, Any]] = {"webp": {"method": 6}, "jpeg": {"subsampling": "4:2:0"}}
"""The greatest effort that the codecs of images offer."""


class ImageStudent(Student):
    """Sends the prepared image as a file; only the network behind it learns."""

    def __init__(self, config: ImageCodecConfig, tail: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.decoder = nn.Identity()
        self.tail = tail
        self._configs = config.levels()

    def cross(self, latent: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images as their files restore them."""
        codecs = [make_codec(config) for config in self._configs]
        arrived, bits = torch.empty_like(latent), latent.new_empty(len(latent))
        for i, number in enumerate(level.tolist()):
            image = latent[i : i + 1].detach().cpu().numpy()
            payload = codecs[number].encode(image)
            bits[i] = 8 * len(payload)
            arrived[i] = torch.from_numpy(codecs[number].decode(payload, header_of(image))[0])
        return arrived, bits

    def draw(self, count: int) -> Tensor:
        """Return levels drawn alike."""
        return torch.randint(len(self._configs), (count,))


class ImageCodec(Recipe):
    """One stage: the network learns to answer to files as the teacher does to images."""

    id = "image-codec"
    Config = ImageCodecConfig

    def student(self, form: Form, tail: nn.Module) -> Student:
        """Return the network behind a codec; source and target must be the prepared image."""
        check_image(form)
        if form.source != form.target or form.source[0] not in (1, 3):
            raise ConfigError(
                f"image-codec sends images, its source and target are {form.source} and "
                f"{form.target}: leave both at input"
            )
        return ImageStudent(self.config, tail)

    def stages(self, target: str) -> tuple[Stage, ...]:
        """Return the one stage, or none of no epochs."""
        config: ImageCodecConfig = self.config
        hints = (target, *config.hints) if config.hints else ()
        rates = {TAIL: config.rate}
        stage = Stage("answers", config.epochs, rates, hints, True, config.fixed_statistics)
        return (stage,) if config.epochs else ()

    def loss(self, stage: Stage, student: Student, batch: Batch) -> Loss:
        """Return the distance from the teacher's answers, and from what the stage matches."""
        config: ImageCodecConfig = self.config
        restored, bits = student(batch.source, batch.level)
        error = imitation_error(
            student, stage, restored, batch, config.temperature, config.hint_weight
        )
        return Loss(error, {"bytes": bits.mean().item() / 8})

    def levels(self) -> tuple[LevelPlan, ...]:
        """Return a level a quality, the one of most bytes first."""
        config: ImageCodecConfig = self.config
        found = zip(config.qualities[::-1], config.levels(), strict=True)
        return tuple(LevelPlan(f"{config.codec} {q}", (codec,)) for q, codec in found)
