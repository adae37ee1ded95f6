"""What a recipe is: the form of a student, the stages of its training, their losses, its levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitnet.errors import ConfigError, ModelError
from splitnet.training.loop import Loss

Shape: TypeAlias = tuple[int, ...]

ENCODER, DECODER, TAIL = "encoder", "decoder", "tail"


@dataclass(frozen=True, slots=True)
class Form:
    """The tensors between which a student stands, as shapes of one sample.

    Attributes
    ----------
    source
        What the encoder reads.
    target
        What the decoder ends in.
    positive
        Whether the target is never negative, as behind a ReLU.
    """

    source: Shape
    target: Shape
    positive: bool


class Student(nn.Module):
    """Encoder, bottleneck, decoder, and the rest of the network behind them.

    Attributes
    ----------
    encoder
        Source to latent ``(N, C, H, W)``, as it is exported for the device.
    decoder
        Latent, as it arrived, to target.
    tail
        Target to a tuple: the answers, then the tensors at the places `behind`.
    behind
        The `matched_behind` places.
    added
        Prefixes of the names of layers that begin as the identity, so that the student may begin
        with weights of one without them.
    """

    encoder: nn.Module
    decoder: nn.Module
    tail: nn.Module
    behind: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def cross(self, latent: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return what arrives of `latent` at the `level` of each sample, and its size in bits.

        In training it passes gradients; in eval mode it is what the level's codec does.
        """
        raise NotImplementedError

    def forward(self, source: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return the restored target and the size in bits of what crossed.

        A frozen encoder is computed as the device will: in float32, whatever the rest is.
        """
        frozen = not self.encoder.training
        with torch.autocast(source.device.type, enabled=False) if frozen else nullcontext():
            latent = self.encoder(source.float() if frozen else source)
        arrived, bits = self.cross(latent.float(), level)
        return self.decoder(arrived), bits

    def feature_error(self, stage: Stage, restored: Tensor, batch: Batch) -> Tensor:
        """Return the summed error at the target and at what else `stage` matches behind it."""
        error = relative_error(restored, batch.features[0])
        if len(stage.matched) > 1:
            error = error + self.behind_error(stage, self.tail(restored)[1:], batch)
        return error

    def behind_error(self, stage: Stage, found: Sequence[Tensor], batch: Batch) -> Tensor:
        """Return the summed error at what `stage` matches behind the target.

        `found` are the tail's tensors at all places `behind`.
        """
        own = dict(zip(self.behind, found, strict=True))
        return matching_error([own[place] for place in stage.matched[1:]], batch.features[1:])

    def draw(self, count: int) -> Tensor:
        """Return the level of each of `count` training samples, from torch's generator."""
        return torch.zeros(count, dtype=torch.int64)

    def start(self, source: Tensor) -> None:
        """Choose the first weights by some samples of the source; as they are by default."""

    def parts(self, names: Mapping[str, float]) -> list[tuple[nn.Module, float]]:
        """Return the parts that learn, with their rates."""
        return [(self.get_submodule(name), rate) for name, rate in names.items() if rate]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a training with one loss.

    Attributes
    ----------
    name
        For people and for checkpoints.
    rates
        Peak learning rate of each part of the student that learns.
    matched
        Places whose tensors the loss compares with the teacher's, the target first.
    answers
        Whether the loss asks for the teacher's answers.
    fixed_statistics
        Whether batch normalisation keeps its statistics, so that it does not learn those of samples
        that are mixed and come in at all rates at once.
    """

    name: str
    epochs: int
    rates: Mapping[str, float]
    matched: tuple[str, ...] = ()
    answers: bool = False
    fixed_statistics: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of a step and what the teacher makes of them.

    Attributes
    ----------
    source
        What the encoder reads.
    level
        Number of the level of each sample.
    features
        The teacher's tensors at the places that the stage matches.
    answers
        Its answers, if the stage asks for them.
    """

    source: Tensor
    level: Tensor
    features: tuple[Tensor, ...] = ()
    answers: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """A level of the learned path: its name and a codec to be calibrated."""

    name: str
    codecs: tuple[Mapping[str, Any], ...] = field(default=())


def matched_behind(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return the places behind the target that any of the stages matches."""
    return tuple(dict.fromkeys(place for stage in stages for place in stage.matched[1:]))


class Recipe(ABC):
    """A way to train a learned path; `config` is its dataclass.

    Attributes
    ----------
    id
        Name in the registry, and of the recipe's table in a TOML file.
    """

    id: ClassVar[str]
    Config: ClassVar[type[Any]]

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    @abstractmethod
    def student(self, form: Form, tail: nn.Module) -> Student:
        """Return a new student.

        Raises
        ------
        ConfigError
            The bottleneck is wider than the tensor that it stands for.
        ModelError
            The recipe does not work on tensors of this form.
        """

    @abstractmethod
    def stages(self, target: str) -> tuple[Stage, ...]:
        """Return the stages of a student whose decoder ends at `target`."""

    @abstractmethod
    def loss(self, stage: Stage, student: Student, batch: Batch) -> Loss:
        """Return the loss of a batch; the student is in training mode."""

    @abstractmethod
    def levels(self) -> tuple[LevelPlan, ...]:
        """Return the levels, the one of most bytes first.

        Of several codecs of a level, the one that makes the shortest payloads is taken.
        """

    def further_levels(self) -> tuple[LevelPlan, ...]:
        """Return levels that are not trained: the latents of those that are, coded otherwise."""
        return ()


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the divergence of answers ``(..., classes)`` from the teacher's, for each sample's.

    Source: Hinton et al., Distilling the knowledge in a neural network, 2015 (arXiv 1503.02531).
    """
    classes = student.shape[-1]
    own, other = (
        F.log_softmax(answers.float().reshape(-1, classes) / temperature, 1)
        for answers in (student, teacher)
    )
    return F.kl_div(own, other, reduction="batchmean", log_target=True) * temperature**2


def imitation_error(
    student: Student,
    stage: Stage,
    restored: Tensor,
    batch: Batch,
    temperature: float,
    hint_weight: float = 1.0,
) -> Tensor:
    """Return how far the tail's answers to `restored` are from the teacher's.

    Where the stage matches places behind the target, their errors are added (Romero et al.,
    FitNets: hints for thin deep nets, ICLR 2015).
    """
    assert batch.answers is not None
    answers, *behind = student.tail(restored)
    error = divergence(answers, batch.answers, temperature)
    if stage.matched:
        error = error + hint_weight * student.behind_error(stage, behind, batch)
    return error


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared error as a share of the teacher's variance."""
    return F.mse_loss(student.float(), teacher) / teacher.var().clamp_min(1e-12)


def check_width(latent: Shape, form: Form, key: str) -> None:
    """Check that a bottleneck is one.

    Raises
    ------
    ConfigError
        It has more values than the tensor that it stands for.
    """
    values, given = _size(latent), _size(form.source)
    if values > given:
        most = given // max(1, _size(latent[1:]))
        raise ConfigError(
            f"{key} is {latent[0]}: the bottleneck {_text(latent)} has {values} values, the tensor "
            f"{_text(form.source)} that it stands for has {given}; give at most {most}"
        )


def matching_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return the sum of relative errors at several places."""
    errors = [relative_error(own, other) for own, other in zip(found, wanted, strict=True)]
    total: Tensor = sum(errors[1:], errors[0])
    return total


def check_image(form: Form) -> None:
    """Raise `ModelError` unless source and target are tensors ``(C, H, W)``."""
    for name, shape in (("source", form.source), ("target", form.target)):
        if len(shape) != 3:
            raise ModelError(
                f"the {name} has the shape {_text(shape)}; this recipe takes channels, height "
                "and width"
            )


def _size(shape: Shape) -> int:
    return int(torch.Size(shape).numel())


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
