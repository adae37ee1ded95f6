"""From a folder of training results to the files of a learned path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet import registry
from splitnet.builder.assembly import LearnedFiles
from splitnet.builder.boundaries import Choice
from splitnet.builder.cuts import Cut, resolve_cut
from splitnet.builder.data import Roles
from splitnet.builder.model import SourceModel
from splitnet.builder.overlap import check_learned_from
from splitnet.builder.segments import export_module
from splitnet.builder.shards import write_tables
from splitnet.bundle import Level
from splitnet.config import load_config
from splitnet.errors import ModelError, PartitionError, TrainingError, UnknownNameError
from splitnet.training.addressing import INPUT, OUTPUT, Network
from splitnet.training.recipe import Recipe, Student
from splitnet.training.results import Folder, Results
from splitnet.training.teacher import hash_modules


class _Rest(nn.Module):
    """Decoder and the rest of the network, which was trained with it."""

    def __init__(self, decoder: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.tail = tail

    def forward(self, z: Tensor) -> Tensor:
        """Return the answers to what arrived."""
        answers: Tensor
        (answers,) = self.tail(self.decoder(z))
        return answers


class LearnedPath:
    """The learned path in a folder of results, to become part of a bundle.

    Raises
    ------
    TrainingError
        The folder holds no finished training, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Folder(folder)
        self.results: Results = self._folder.results()

    @property
    def must(self) -> tuple[str, ...]:
        """The cut that has to be a boundary, since the encoder reads there."""
        return () if self.results.source == INPUT else (self.results.source,)

    def check_roles(self, roles: Roles) -> tuple[str, ...]:
        """Return notes on data that the path has learned from.

        Raises
        ------
        ConfigError
            Calibration or test data is among it.
        """
        return check_learned_from(self._folder, "the learned path", roles)

    def export(
        self,
        path_id: str,
        model: SourceModel,
        example: NDArray[Any],
        choices: Sequence[Choice],
        cuts: Sequence[Cut],
        out: Path,
    ) -> LearnedFiles:
        """Write encoder, decoder and codec tables below `out`.

        The decoder holds the rest of the network if that was trained too; the path then ends with
        it, and its weights are stored beside those of the segments.

        Parameters
        ----------
        example
            A prepared input ``(1, ...)``.
        choices, cuts
            The interior boundaries, and all cuts of the model.

        Raises
        ------
        ModelError
            The path was trained for another network, or the model is no torch module.
        """
        if model.module is None:
            raise ModelError("--learned needs a torch model (module:callable), not a file")
        if hash_modules([model.module]) != self.results.network:
            raise ModelError(
                f"{self._folder.path} was trained for a network with other weights than "
                f"{model.name} has; train again, or give the model that it was trained with"
            )
        network = Network(model.module, torch.from_numpy(np.array(example)))
        student = load_student(self._folder, self.results, network)
        boundary = _boundary(self.results.source, choices, cuts)
        entry = _boundary(self.results.target, choices, cuts)
        assert boundary is not None  # `must` made it one
        decoder: nn.Module = student.decoder
        if entry is None or not _unmodified(student, network, self.results.target):
            entry, decoder = len(choices) + 1, _Rest(student.decoder, student.tail)
        with torch.inference_mode():
            (source,) = network.part(INPUT, [self.results.source])(network.example)
            latent = student.encoder(source)
        levels = []
        for level in self.results.levels:
            write_tables(self._folder.tables(level), out)
            levels.append(Level(level.name, ((dict(level.codec),),)))
        return LearnedFiles(
            boundary,
            None
            if isinstance(student.encoder, nn.Identity)
            else export_module(student.encoder, source.numpy(), f"encoder-{path_id}", out),
            export_module(decoder, latent.numpy(), f"decoder-{path_id}", out),
            path_id,
            entry,
            tuple(levels),
        )


def load_student(folder: Folder, results: Results, network: Network) -> Student:
    """Return the trained student of `results` for `network`, in eval mode.

    Raises
    ------
    TrainingError
        Its recipe is none of a path, or the weights are damaged or of another student.
    """
    recipe = registry.load("recipes", results.recipe)
    if not (isinstance(recipe, type) and issubclass(recipe, Recipe)):
        raise TrainingError(f"{folder.path}: {results.recipe!r} is no recipe of a learned path")
    config = load_config(recipe.Config, results.recipe, options=results.config)
    student = recipe(config).student(results.form, network.part(results.target, [OUTPUT]))
    try:
        student.load_state_dict(folder.weights())
    except RuntimeError as error:
        raise TrainingError(f"{folder.path}: the weights do not fit its recipe: {error}") from error
    return student.eval().requires_grad_(False)


def path_ids(paths: Sequence[LearnedPath], taken: Sequence[str]) -> list[str]:
    """Return a name for each path: its recipe, with a number from the second one on."""
    found: list[str] = []
    for path in paths:
        name, number = path.results.recipe, 1
        while name in (*found, *taken):
            number += 1
            name = f"{path.results.recipe}-{number}"
        found.append(name)
    return found


def _boundary(place: str, choices: Sequence[Choice], cuts: Sequence[Cut]) -> int | None:
    """Return the number of the boundary at `place`, ``None`` if there is none."""
    if place == INPUT:
        return 0
    numbers = {choice.cut: number for number, choice in enumerate(choices, 1)}
    try:
        return numbers.get(resolve_cut(place, cuts))
    except (UnknownNameError, PartitionError):
        return None


def _unmodified(student: Student, network: Network, target: str) -> bool:
    """Return whether the rest of the network is as it was."""
    own, original = student.tail.state_dict(), network.part(target, [OUTPUT]).state_dict()
    return all(torch.equal(own[name], original[name]) for name in original)
