"""The learned parts of a bundle: an early exit and a bottleneck on cached features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from splitnet.builder.assembly import LEARNED_PATH, LearnedFiles
from splitnet.builder.bottleneck import Bottleneck, Tail, Teacher, train_bottleneck
from splitnet.builder.data import Roles
from splitnet.builder.execution import Execution
from splitnet.builder.exits import CONFIDENCE, WORK_SHARE, TrainedExit, make_head, train_exit
from splitnet.builder.features import Features, collect_features
from splitnet.builder.places import Places
from splitnet.builder.resume import Steps
from splitnet.builder.segments import Exported, GraphFile, export_module
from splitnet.builder.tail import load_tail
from splitnet.builder.training import Schedule
from splitnet.bundle import ExitHead, GraphRef
from splitnet.console import Progress
from splitnet.errors import ModelError
from splitnet.runtime.answers import labels

SIGN_ROWS = 64
"""Samples that tell whether a boundary tensor can be negative."""

_EXIT, _BOTTLENECK = "exit", "bottleneck"
"""Names of the steps that an interrupted build keeps."""

MAX_EXIT_SHARE = 0.1
"""An exit that costs more of the network's FLOPs than this is worth a warning."""


@dataclass(frozen=True, slots=True)
class LearnedExit:
    """An exit as it was learned, its file, and what a person should know."""

    head: ExitHead
    file: GraphFile
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LearnedBottleneck:
    """A bottleneck as it was learned, and what a person should know."""

    files: LearnedFiles
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned, as files and as entries of the documents."""

    exits: tuple[ExitHead, ...]
    exit_files: dict[str, GraphFile]
    bottleneck: LearnedFiles | None
    notes: tuple[str, ...]


class Learner:
    """Trains the learned parts of a cut model and exports them.

    Parameters
    ----------
    names
        Names of the interior boundaries, of which the exit takes one.
    schedule
        Bounds of each training.
    exit_loss
        Part of the score on calibration data that the exit may lose.
    steps
        Where what is learned is kept in case the build is interrupted.
    """

    def __init__(
        self,
        execution: Execution,
        exported: Exported,
        folder: Path,
        names: Sequence[str],
        schedule: Schedule,
        exit_loss: float,
        progress: Progress,
        steps: Steps,
    ) -> None:
        self._steps = steps
        self._execution = execution
        self._exported = exported
        self._folder = folder
        self._names = names
        self._schedule = schedule
        self._exit_loss = exit_loss
        self._progress = progress
        self._notes: list[str] = []

    def learn(self, roles: Roles, places: Places) -> Learned:
        """Train what `places` asks for; what an interrupted build had learned is not done again."""
        exit_ = None if places.exit is None else self._kept_exit()
        bottleneck = None if places.bottleneck is None else self._kept_bottleneck()
        wanted = {
            place
            for place, found in ((places.exit, exit_), (places.bottleneck, bottleneck))
            if place is not None and found is None
        }
        if wanted:
            wanted.add(self._end)
            training, calibration = (
                collect_features(self._execution, data, wanted, self._progress, self._schedule.seed)
                for data in (roles.training, roles.calibration)
            )
            if len(training.data) < len(roles.training):
                self._notes.append(
                    f"{len(training.data)} of {len(roles.training)} training samples were used: "
                    "the features of all would not fit the cache"
                )
            if places.exit is not None and exit_ is None:
                exit_ = self._exit(training, calibration, places.exit)
                self._steps.save(_EXIT, exit_, [exit_.file.ref])
            if places.bottleneck is not None and bottleneck is None:
                bottleneck = self._bottleneck(training, calibration, places.bottleneck)
                self._steps.save(_BOTTLENECK, bottleneck, _graphs(bottleneck.files))
        for found in (exit_, bottleneck):
            self._notes += found.notes if found is not None else ()
        return Learned(
            (exit_.head,) if exit_ else (),
            {exit_.head.id: exit_.file} if exit_ else {},
            bottleneck.files if bottleneck else None,
            tuple(self._notes),
        )

    def _kept_exit(self) -> LearnedExit | None:
        found = self._steps.load(_EXIT, LearnedExit)
        return found if found and self._steps.restore([found.file.ref]) else None

    def _kept_bottleneck(self) -> LearnedBottleneck | None:
        found = self._steps.load(_BOTTLENECK, LearnedBottleneck)
        return found if found and self._steps.restore(_graphs(found.files)) else None

    @property
    def _end(self) -> int:
        """The last boundary: the answers."""
        return len(self._exported.segments)

    def _exit(self, training: Features, calibration: Features, place: int) -> LearnedExit:
        features, work = training.at[place], self._exported.whole.flops
        shape = training.at[self._end].shape[1:]
        head = make_head(features.shape[1:], shape, WORK_SHARE * work, self._schedule.seed)
        self._progress.step(f"training the exit on {len(features)} samples", self._schedule.epochs)
        found = train_exit(
            head,
            (features, _truth(training, self._end)),
            (calibration.at[place], _truth(calibration, self._end)),
            calibration.at[self._end],
            self._exit_loss,
            self._schedule,
            self._progress,
        )
        name = self._names[place - 1]
        file = export_module(found.module, _first(features), f"exit-{name}", self._folder)
        return LearnedExit(
            ExitHead(name, place, file.ref, found.temperature, CONFIDENCE, found.threshold),
            file,
            tuple(_exit_notes(name, found, file.flops / work, self._exit_loss)),
        )

    def _bottleneck(
        self, training: Features, calibration: Features, place: int
    ) -> LearnedBottleneck:
        teacher, held = (
            Teacher(features.at[place], features.at[self._end])
            for features in (training, calibration)
        )
        channels, height, width = teacher.features.shape[1:]
        positive = bool(teacher.features[:SIGN_ROWS].min() >= 0)
        module = Bottleneck((channels, height, width), positive, self._schedule.seed)
        tail, notes = self._tail(place, teacher)
        self._progress.step(
            f"training the bottleneck on {len(teacher.features)} samples", self._schedule.epochs
        )
        train_bottleneck(module, teacher, held, tail, self._schedule, self._progress)
        example = _first(teacher.features)
        with torch.inference_mode():
            encoded = module.encoder(torch.from_numpy(example)).numpy()
        files = LearnedFiles(
            place,
            export_module(module.encoder, example, f"encoder-{LEARNED_PATH}", self._folder),
            export_module(module.decoder, encoded, f"decoder-{LEARNED_PATH}", self._folder),
        )
        return LearnedBottleneck(files, notes)

    def _tail(self, place: int, teacher: Teacher) -> tuple[Tail | None, tuple[str, ...]]:
        """Return the segments behind the bottleneck as a torch function, or why that fails."""
        files = [self._folder / file.ref.file for file in self._exported.segments[place:]]
        example, expected = _first(teacher.features), _first(teacher.output)
        try:
            return load_tail(files, torch.from_numpy(example), torch.from_numpy(expected)), ()
        except ModelError as error:
            note = f"the bottleneck only learned to restore its tensor, not the answers: {error}"
            return None, (note,)


def _graphs(files: LearnedFiles) -> list[GraphRef]:
    return [files.encoder.ref, files.decoder.ref]


def _exit_notes(name: str, found: TrainedExit, cost: float, exit_loss: float) -> list[str]:
    notes = [
        f"exit {name}: {found.share:.1%} of the calibration samples leave there; the score is "
        f"{found.mixed_score:.4f} with it and {found.whole_score:.4f} without"
    ]
    if found.closed:
        notes = [
            f"exit {name} is closed: at no threshold it loses at most {exit_loss:g} of the score "
            "on calibration data; it only answers when a deadline leaves nothing else"
        ]
    if cost > MAX_EXIT_SHARE:
        notes.append(f"exit {name} is expensive: {cost:.0%} of the network's work")
    return notes


def _first(features: NDArray[Any]) -> NDArray[Any]:
    return np.array(features[:1])


def _truth(features: Features, end: int) -> NDArray[np.int64]:
    """Return labels, those of the whole network where the data has none."""
    return labels(features.at[end]) if features.data.y is None else features.data.y
