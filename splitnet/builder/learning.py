"""The learned parts of a bundle: prefilter, early exits and a bottleneck on cached features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from splitnet.builder.assembly import LEARNED_PATH, LearnedFiles
from splitnet.builder.data import Roles
from splitnet.builder.execution import Execution, batches
from splitnet.builder.exit_building import ExitWishes, LearnedExits, build_exits
from splitnet.builder.features import Features, collect_features
from splitnet.builder.places import ExitPlace, Places
from splitnet.builder.prefilter_building import (
    LearnedPrefilter,
    PrefilterWishes,
    build_prefilter,
)
from splitnet.builder.resume import Steps
from splitnet.builder.segments import Exported, GraphFile, export_module
from splitnet.builder.tail import load_tail
from splitnet.bundle import ExitHead, GraphRef, Prefilter
from splitnet.console import Progress
from splitnet.errors import ModelError
from splitnet.runtime.reading import answer_form
from splitnet.training.bottleneck import Bottleneck, Tail, Teacher, train_bottleneck
from splitnet.training.loop import Schedule
from splitnet.values import SKIP

SIGN_ROWS = 64
"""Samples that tell whether a boundary tensor can be negative."""

_EXITS, _BOTTLENECK, _PREFILTER = "exits", "bottleneck", "prefilter"
"""Names of the steps that an interrupted build keeps."""


@dataclass(frozen=True, slots=True)
class LearnedBottleneck:
    """A bottleneck as it was learned, and what a person should know."""

    files: LearnedFiles
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned, as files and as entries of the documents.

    Attributes
    ----------
    exit_files
        Those of the prefilter too.
    origin
        How thresholds were chosen, of exits and of the prefilter.
    """

    exits: tuple[ExitHead, ...]
    exit_files: dict[str, GraphFile]
    origin: Mapping[str, Any]
    bottleneck: LearnedFiles | None
    notes: tuple[str, ...]
    prefilter: Prefilter | None = None

    @property
    def heads(self) -> tuple[ExitHead, ...]:
        """The prefilter's head, if there is one, and those of the exits."""
        return (() if self.prefilter is None else (self.prefilter.head,)) + self.exits

    @property
    def paths(self) -> tuple[LearnedFiles, ...]:
        """The files of the learned path, if there is one."""
        return () if self.bottleneck is None else (self.bottleneck,)


class Learner:
    """Trains the learned parts of a cut model and exports them.

    Parameters
    ----------
    names
        Names of the interior boundaries.
    schedule
        Bounds of each training.
    wishes, heads
        What the exits are to be like, and their heads if they are trained already.
    steps
        Where what is learned is kept in case the build is interrupted.
    interest
        What a prefilter is to let through.
    """

    def __init__(
        self,
        execution: Execution,
        exported: Exported,
        folder: Path,
        names: Sequence[str],
        schedule: Schedule,
        wishes: ExitWishes,
        heads: Sequence[nn.Module],
        progress: Progress,
        steps: Steps,
        interest: PrefilterWishes | None = None,
    ) -> None:
        self._interest = interest
        self._steps = steps
        self._execution = execution
        self._exported = exported
        self._folder = folder
        self._names = names
        self._schedule = schedule
        self._wishes = wishes
        self._heads = heads
        self._progress = progress
        self._notes: list[str] = []

    def learn(self, roles: Roles, places: Places) -> Learned:
        """Train what `places` asks for; what an interrupted build had learned is not done again."""
        exits = self._kept_exits() if places.exits else LearnedExits()
        bottleneck = None if places.bottleneck is None else self._kept_bottleneck()
        prefilter = None if places.prefilter is None else self._kept_prefilter()
        wanted = {
            *(place.boundary for place in places.exits if exits is None),
            *(place for place in [places.bottleneck] if place is not None and bottleneck is None),
        }
        if places.prefilter is not None and prefilter is None:
            wanted.add(places.prefilter.boundary)
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
            if exits is None:
                exits = self._exits(training, calibration, places.exits)
                self._steps.save(_EXITS, exits, [file.ref for file in exits.files])
            if places.prefilter is not None and prefilter is None:
                prefilter = self._prefilter(training, calibration, places.prefilter)
                self._steps.save(_PREFILTER, prefilter, [prefilter.file.ref])
            if places.bottleneck is not None and bottleneck is None:
                bottleneck = self._bottleneck(training, calibration, places.bottleneck)
                self._steps.save(_BOTTLENECK, bottleneck, _graphs(bottleneck.files))
        exits = exits or LearnedExits()
        for found in (prefilter, exits, bottleneck):
            self._notes += found.notes if found is not None else ()
        files = {head.id: file for head, file in zip(exits.heads, exits.files, strict=True)}
        origin: dict[str, Any] = {"exits": exits.origin}
        if prefilter is not None:
            files[SKIP] = prefilter.file
            origin["prefilter"] = prefilter.origin
        return Learned(
            exits.heads,
            files,
            origin,
            bottleneck.files if bottleneck else None,
            tuple(self._notes),
            prefilter.prefilter if prefilter else None,
        )

    def _kept_exits(self) -> LearnedExits | None:
        found = self._steps.load(_EXITS, LearnedExits)
        return found if found and self._steps.restore([f.ref for f in found.files]) else None

    def _kept_prefilter(self) -> LearnedPrefilter | None:
        found = self._steps.load(_PREFILTER, LearnedPrefilter)
        return found if found and self._steps.restore([found.file.ref]) else None

    def _kept_bottleneck(self) -> LearnedBottleneck | None:
        found = self._steps.load(_BOTTLENECK, LearnedBottleneck)
        return found if found and self._steps.restore(_graphs(found.files)) else None

    @property
    def _end(self) -> int:
        """The last boundary: the answers."""
        return len(self._exported.segments)

    def _exits(
        self, training: Features, calibration: Features, places: tuple[ExitPlace, ...]
    ) -> LearnedExits:
        return build_exits(
            places,
            training,
            calibration,
            self._heads,
            self._wishes,
            self._schedule,
            self._exported.whole.flops,
            self._folder,
            self._progress,
        )

    def _prefilter(
        self, training: Features, calibration: Features, place: ExitPlace
    ) -> LearnedPrefilter:
        assert self._interest is not None  # it has a place
        return build_prefilter(
            place,
            training,
            calibration,
            (self._nothing(training), self._nothing(calibration)),
            self._interest,
            self._schedule,
            self._exported.whole.flops,
            self._folder,
            self._progress,
        )

    def _nothing(self, features: Features) -> NDArray[np.bool_]:
        """Return in which samples nothing is of interest; without labels the whole network says."""
        assert self._interest is not None
        form = answer_form(self._execution.contract)
        if features.data.y is not None:
            found = [form.nothing(features.data.y, self._interest.interest)]
        else:
            outputs = features.at[self._end]
            found = [
                form.nothing(
                    form.truth(self._execution.answer([np.array(outputs[rows.start : rows.stop])])),
                    self._interest.interest,
                )
                for rows in batches(len(outputs))
            ]
        return np.concatenate(found)

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
    return [file.ref for file in (files.encoder, files.decoder) if file is not None]


def _first(features: NDArray[Any]) -> NDArray[Any]:
    return np.array(features[:1])
