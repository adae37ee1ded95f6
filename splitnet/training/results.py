"""The folder of a training: what it was, what it reached, and what a bundle needs of it.

``results.json`` and ``weights.safetensors`` are written when the training has ended;
``history.jsonl`` grows with each epoch, and ``checkpoint.safetensors`` is there while it runs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from splitnet.bundle.json_form import Reader, to_json
from splitnet.codecs.tables import hash_of
from splitnet.errors import BundleError, TrainingError
from splitnet.training.checkpoints import read_tensors, write_tensors
from splitnet.training.levels import FittedLevel
from splitnet.training.recipe import Form
from splitnet.training.session import Record

VERSION = 1
RESULTS, WEIGHTS, HISTORY = "results.json", "weights.safetensors", "history.jsonl"
CHECKPOINT, RECIPE, PLOT, TABLES = "checkpoint.safetensors", "recipe.toml", "rates.png", "tables"


@dataclass(frozen=True, slots=True)
class LevelResult:
    """A level of the learned path.

    Attributes
    ----------
    codec
        Configuration of the codec of the latent.
    tables
        SHA-256 of each table that it names; the file is ``tables/<sha256>``.
    calibration, test
        Score and mean payload bytes, as the codec really made them.
    """

    name: str
    codec: Mapping[str, Any]
    tables: tuple[str, ...]
    calibration: tuple[float, ...]
    test: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """What a training reached, and what makes it again.

    Attributes
    ----------
    recipe, config
        Id of the recipe and its configuration.
    settings
        Model, data and everything else of the recipe's file.
    source, target
        Where the encoder reads and where the decoder ends.
    form
        Shapes of both for one sample, and whether the target is never negative.
    network
        SHA-256 of the weights of the network whose path was learned.
    teacher
        The teacher's score on calibration and test data, ``None`` without labels.
    flops
        Of one sample through the encoder and through the whole network.
    git
        Commit of the working directory, empty if it is none.
    """

    recipe: str
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    source: str
    target: str
    form: Form
    network: str
    teacher: tuple[float | None, ...]
    levels: tuple[LevelResult, ...]
    flops: Mapping[str, int]
    seconds: float
    git: str
    notes: tuple[str, ...]


class Folder:
    """A results folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """File of the training's state while it runs."""
        return self.path / CHECKPOINT

    def begin(self, recipe: str) -> None:
        """Make the folder and keep the recipe's text."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / RECIPE).write_text(recipe)
        except OSError as error:
            raise TrainingError(f"cannot write {self.path}: {error.strerror}") from error

    def forget(self) -> None:
        """Delete the history and the checkpoint of a training that begins anew."""
        for name in (HISTORY, CHECKPOINT, RESULTS, WEIGHTS):
            (self.path / name).unlink(missing_ok=True)

    def note(self, record: Record) -> None:
        """Add an epoch to the history."""
        with (self.path / HISTORY).open("a") as file:
            file.write(json.dumps(asdict(record)) + "\n")

    def finish(
        self, results: Results, levels: Sequence[FittedLevel], weights: Mapping[str, Tensor]
    ) -> None:
        """Write everything that a bundle needs, and delete the checkpoint."""
        tables = self.path / TABLES
        tables.mkdir(exist_ok=True)
        for level in levels:
            for name, content in level.tables.items():
                (tables / name).write_bytes(content)
        write_tensors(self.path / WEIGHTS, weights, {"recipe": results.recipe})
        text = json.dumps({"version": VERSION, **to_json(results)}, indent=1, allow_nan=False)
        (self.path / RESULTS).write_text(text + "\n")
        self.checkpoint.unlink(missing_ok=True)

    def results(self) -> Results:
        """Return what the training reached.

        Raises
        ------
        TrainingError
            The folder holds no finished training.
        """
        file = self.path / RESULTS
        try:
            data = json.loads(file.read_bytes())
            return Reader(RESULTS, VERSION, refuse_unknown=True).read(Results, data)
        except FileNotFoundError:
            going = "; go on with --resume" if self.checkpoint.exists() else ""
            raise TrainingError(f"{self.path} holds no finished training{going}") from None
        except (OSError, ValueError, BundleError) as error:
            raise TrainingError(f"{file} is damaged ({error}); train again") from error

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the student (raises `TrainingError`)."""
        return dict(read_tensors(self.path / WEIGHTS).tensors)

    def tables(self, level: LevelResult) -> dict[str, bytes]:
        """Return the tables of a level by their hashes (raises `TrainingError`)."""
        found = {}
        for name in level.tables:
            file = self.path / TABLES / name
            try:
                found[name] = file.read_bytes()
            except OSError as error:
                raise TrainingError(f"cannot read {file}: {error.strerror}; train again") from error
            if hash_of(found[name]) != name:
                raise TrainingError(f"{file} is damaged; train again")
        return found


def measured(score: NDArray[Any], payloads: Sequence[bytes]) -> tuple[float, ...]:
    """Return mean score and mean size."""
    return float(np.mean(score)), float(np.mean([len(payload) for payload in payloads]))


def commit() -> str:
    """Return the commit of the working directory, with a ``+`` if files have changed since."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
