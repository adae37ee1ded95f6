"""A training from the first stage to the last: what a recipe, a network and data make together."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.console import Progress
from splitnet.errors import ConfigError
from splitnet.training.addressing import INPUT, OUTPUT, Network
from splitnet.training.averaging import Averaged
from splitnet.training.checkpoints import Checkpoint, Kept
from splitnet.training.loop import Epoch, Loss, Part, Schedule, Training
from splitnet.training.recipe import Batch, Form, Recipe, Stage, Student, matched_behind
from splitnet.training.teacher import TEACHER_BATCH, Arithmetic, Teacher
from splitnet.training.views import Data, Views

SAMPLE_ROWS = 256
"""Samples that tell whether a target can be negative, and that first weights are chosen by."""

CLIP = 1.0
"""Largest norm of a gradient."""

DECAY = 1e-4

T = TypeVar("T")

_NO_VIEWS = Views()


@dataclass(frozen=True, slots=True)
class Task:
    """Everything that a training depends on.

    Attributes
    ----------
    network
        The network whose path is learned.
    source, target
        Where the encoder reads and where the decoder ends.
    frozen
        Weights of a student of the same recipe to begin with, ``None`` for new ones.
    """

    recipe: Recipe
    network: Network
    teacher: Teacher
    training: Data
    calibration: Data
    source: str = INPUT
    target: str = INPUT
    views: Views = _NO_VIEWS
    batch: int = 128
    seed: int = 0
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    begin: Mapping[str, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What an epoch reached: its losses, and score and bytes of each level on calibration data."""

    stage: str
    epoch: int
    loss: float
    figures: Mapping[str, float]
    scores: tuple[float, ...]
    bytes: tuple[float, ...]


class Session:
    """Trains the student of a task, stage by stage.

    Raises
    ------
    PartitionError
        The network has no such source or target, or cannot be entered there.
    ConfigError, ModelError
        The recipe does not fit the tensors.
    """

    def __init__(self, task: Task, progress: Progress) -> None:
        self.task = task
        self._progress = progress
        network = task.network
        network.check(task.source)
        network.check(task.target)
        self._fronts: dict[tuple[str, ...], nn.Module] = {}
        rows = np.arange(min(SAMPLE_ROWS, task.training.count))
        with torch.no_grad():
            source, target = self._front((task.source, task.target))(
                task.arithmetic.tensor(torch.from_numpy(task.training.inputs(rows.tolist())))
            )
        self.form = Form(tuple(source.shape[1:]), tuple(target.shape[1:]), bool(target.min() >= 0))
        torch.manual_seed(task.seed)
        self.stages = task.recipe.stages(task.target)
        tail = network.part(task.target, [OUTPUT, *matched_behind(self.stages)])
        student = self._placed(task.recipe.student(self.form, tail))
        student.behind = matched_behind(self.stages)
        student.start(source)
        if task.begin is not None:
            begin(student, task.begin)
        self._pair: Averaged[Student] = Averaged(student)
        self.levels = len(task.recipe.levels())

    @property
    def student(self) -> Student:
        """The average of the trained student."""
        return self._pair.average

    def run(
        self,
        checkpoint: Checkpoint | None = None,
        kept: Kept | None = None,
        report: Callable[[Record], None] = lambda record: None,
    ) -> None:
        """Train all stages, or go on with what was kept.

        Raises
        ------
        TrainingError
            The loss is not finite, or a checkpoint cannot be written.
        """
        first = 0 if kept is None else int(kept.facts["stage"])
        for number, stage in enumerate(self.stages[first:], first):
            training = self._training(number, stage, checkpoint)
            if kept is not None:
                training.resume(kept)
                kept = None
            self._announce(stage, training.epoch, inf)
            for epoch in training.epochs():
                record = self._record(stage, epoch)
                report(record)
                if epoch.number < stage.epochs:
                    self._announce(stage, epoch.number, epoch.left_s, record)
            self._pair.student.load_state_dict(self._pair.average.state_dict())

    def latents(self, data: Data) -> NDArray[np.float32]:
        """Return what the encoder makes of all samples of `data`."""
        return _joined([self._encoded(data, rows) for rows in _batches(data.count)])

    def finish(self, arrived: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the answers to latents as they arrived."""
        return _joined([self._answers(arrived[rows]) for rows in _batches(len(arrived))])

    def dry_run(self) -> dict[str, Any]:
        """Run one batch through every stage, and return what the training would take.

        Raises
        ------
        TrainingError, ModelError
            As the training itself.
        """
        task = self.task
        rows = np.arange(min(task.batch, task.training.count))
        batches = -(-task.training.count // task.batch)
        x = task.views.inputs(task.training, 0, rows)
        answers, asking_s = _timed(lambda: task.teacher.answer(x))
        held = np.arange(min(SAMPLE_ROWS, task.calibration.count))
        (_, sizes), measuring_s = _timed(lambda: self._estimate(held))
        measuring_s *= task.calibration.count / len(held)
        times: dict[str, float] = {}
        for number, stage in enumerate(self.stages):
            training = self._training(number, stage, None, copy.deepcopy(self._pair), answers)
            training.descend(torch.from_numpy(rows))
            _, step_s = _timed(lambda: training.descend(torch.from_numpy(rows)))  # noqa: B023
            times[stage.name] = (step_s * batches + measuring_s) * stage.epochs
        asked = {task.views.number(i) for s in self.stages if s.answers for i in range(s.epochs)}
        times["teacher"] = asking_s * batches * len(asked)
        return {"stages_s": times, "total_s": sum(times.values()), "bytes": sizes}

    # --- steps ----------------------------------------------------------------------------------

    def _training(
        self,
        number: int,
        stage: Stage,
        checkpoint: Checkpoint | None,
        pair: Averaged[Student] | None = None,
        answers: Tensor | None = None,
    ) -> Training:
        """Return the training of a stage; `answers` are the teacher's if it shall not be asked."""
        task, own = self.task, pair or self._pair
        parts = own.student.parts(stage.rates)
        own.learning = [part for part, _ in parts]
        own.fixed_statistics = stage.fixed_statistics
        own.student.requires_grad_(False)
        for part, _ in parts:
            part.requires_grad_(True)
        training = Training(
            own,
            lambda rows: self._loss(own.student, stage, training.epoch, rows, answers),
            task.training.count,
            Schedule(
                stage.epochs,
                inf,
                task.batch,
                max(stage.rates.values()),
                task.seed + number,
                DECAY,
                CLIP,
            ),
            parts=[Part(list(part.parameters()), rate) for part, rate in parts],
            checkpoint=checkpoint,
            facts={"stage": number},
            after_step=own.follow,
            on_step=lambda loss: self._progress.advance(1, f"loss {loss:.4f}"),
        )
        return training

    def _loss(
        self, student: Student, stage: Stage, epoch: int, rows: Tensor, answers: Tensor | None
    ) -> Loss:
        task = self.task
        number = task.views.number(epoch)
        chosen = rows.numpy()
        x = task.arithmetic.tensor(task.views.inputs(task.training, number, chosen))
        if not stage.answers:
            answers = None
        elif answers is None:
            known = task.teacher.answers(task.training, task.views, number, self._progress)
            answers = torch.from_numpy(known[chosen]).float().to(x.device)
        with task.arithmetic.autocast():
            with torch.no_grad():
                source, *features = self._front((task.source, *stage.matched))(x)
            level = student.draw(len(rows)).to(x.device)
            matched = tuple(feature.float() for feature in features)
            return task.recipe.loss(stage, student, Batch(source, level, matched, answers))

    # --- measurements ---------------------------------------------------------------------------

    def _record(self, stage: Stage, epoch: Epoch) -> Record:
        scores, sizes = self._estimate(np.arange(self.task.calibration.count))
        return Record(stage.name, epoch.number, epoch.loss, epoch.figures, scores, sizes)

    @torch.no_grad()
    def _estimate(self, rows: NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return score and expected bytes of each level on calibration samples."""
        task, student = self.task, self.student
        right, bits = np.zeros(self.levels), np.zeros(self.levels)
        truth = self._truth()
        for chunk in np.array_split(rows, max(1, -(-len(rows) // TEACHER_BATCH))):
            latent = torch.from_numpy(self._encoded(task.calibration, chunk))
            latent = latent.to(task.arithmetic.device)
            for number in range(self.levels):
                level = torch.full((len(chunk),), number, device=latent.device)
                arrived, size = student.cross(latent, level)
                with task.arithmetic.autocast():
                    answers = self._answers(arrived.cpu().numpy())
                found = answers.argmax(-1).reshape(len(chunk), -1)
                right[number] += float((found == truth[chunk]).mean(1).sum())
                bits[number] += float(size.sum())
        return tuple(right / len(rows)), tuple(bits / 8 / len(rows))

    def _truth(self) -> NDArray[Any]:
        """Return the labels of the calibration data; without any, the teacher's answers."""
        data = self.task.calibration
        if data.labels is not None:
            return data.labels
        answers = self.task.teacher.answers(data, _NO_VIEWS, 0, self._progress)
        found: NDArray[Any] = answers.argmax(-1).reshape(data.count, -1)
        return found

    @torch.no_grad()
    def _encoded(self, data: Data, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        x = self.task.arithmetic.tensor(torch.from_numpy(data.inputs(rows.tolist())))
        (source,) = self._front((self.task.source,))(x)
        latent = self.student.encoder(source)
        found: NDArray[np.float32] = latent.float().cpu().numpy()
        return found

    @torch.no_grad()
    def _answers(self, arrived: NDArray[np.float32]) -> NDArray[np.float32]:
        x = self.task.arithmetic.tensor(torch.from_numpy(arrived))
        answers, *_ = self.student.tail(self.student.decoder(x))
        found: NDArray[np.float32] = answers.float().cpu().numpy()
        return found

    def _front(self, stops: tuple[str, ...]) -> nn.Module:
        """Return the unmodified network from its input to each of `stops`."""
        if stops not in self._fronts:
            part = self.task.network.part(INPUT, stops)
            self._fronts[stops] = self._placed(part).eval().requires_grad_(False)
        return self._fronts[stops]

    def _placed(self, module: Any) -> Any:
        """Return `module` on the device, in the layout that is fastest there."""
        return module.to(self.task.arithmetic.device, memory_format=torch.channels_last)

    def _announce(
        self, stage: Stage, ended: int, left_s: float, record: Record | None = None
    ) -> None:
        """Tell people which epoch begins and what the one before it reached."""
        text = f"{stage.name}: epoch {ended + 1} of {stage.epochs}"
        if record is not None:
            text += f" ({describe(record)}; {span(left_s)} left in this stage)"
        self._progress.step(text, -(-self.task.training.count // self.task.batch))


def describe(record: Record) -> str:
    """Return loss, scores and bytes of an epoch in one line."""
    levels = ", ".join(
        f"{score:.1%} at {size:.0f} B"
        for score, size in zip(record.scores, record.bytes, strict=True)
    )
    return f"loss {record.loss:.4f}; {levels}"


def span(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def begin(student: Student, weights: Mapping[str, Tensor]) -> None:
    """Give a student the weights of another one.

    A part that `weights` lack keeps its own, and so do layers that begin as the identity.

    Raises
    ------
    ConfigError
        They are those of a student of another form.
    """
    own = student.state_dict()
    strange = [
        name
        for name, tensor in weights.items()
        if name not in own or own[name].shape != tensor.shape
    ]
    lacking = [n for n in sorted(own.keys() - weights.keys()) if not n.startswith(student.added)]
    given = {name.partition(".")[0] for name in weights}
    strange += [name for name in lacking if name.partition(".")[0] in given]
    if strange:
        raise ConfigError(
            f"the weights to begin with are those of another student ({strange[0]} does not fit); "
            "use the recipe that they were trained with"
        )
    student.load_state_dict(dict(weights), strict=False)


def _timed(function: Callable[[], T]) -> tuple[T, float]:
    """Return what a function returns, and its time in seconds."""
    began_s = time.monotonic()
    found = function()
    return found, time.monotonic() - began_s


def _batches(count: int) -> list[NDArray[np.int64]]:
    rows = np.arange(count)
    return [rows[i : i + TEACHER_BATCH] for i in range(0, count, TEACHER_BATCH)]


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(parts)
