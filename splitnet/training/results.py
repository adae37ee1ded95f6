"""The folder of a training: what it was, what it reached, and what a bundle needs of it.

``results.json`` and ``weights.safetensors`` are written when the training has ended;
``history.jsonl`` grows with each epoch, and ``checkpoint.safetensors`` is there while it runs.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from splitnet.bundle.json_form import Reader, to_json
from splitnet.codecs.tables import hash_of
from splitnet.errors import BundleError, TrainingError
from splitnet.runtime.samples import DIGEST_BYTES
from splitnet.training.checkpoints import read_tensors, write_tensors, write_whole, writing
from splitnet.training.levels import FittedLevel
from splitnet.training.recipe import Form
from splitnet.training.session import Record

T = TypeVar("T")

VERSION = 1
RESULTS, WEIGHTS, HISTORY = "results.json", "weights.safetensors", "history.jsonl"
CHECKPOINT, RECIPE, PLOT, TABLES = "checkpoint.safetensors", "recipe.toml", "rates.png", "tables"
SAMPLES = "samples.bin"
"""Digests of the training samples, so that a build does not calibrate on them."""
ROWS = "test.npz"
"""Each level on each test sample: ``score`` float32 and ``nbytes`` int64, both ``(L, S)``."""


@dataclass(frozen=True, slots=True, eq=False)
class LevelRows:
    """A level on some samples: score and payload bytes of each ``(S,)``."""

    score: NDArray[Any]
    nbytes: NDArray[np.int64]

    def means(self) -> tuple[float, ...]:
        """Return mean score and mean size."""
        return float(np.mean(self.score)), float(np.mean(self.nbytes))


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
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / RECIPE, recipe.encode())

    def forget(self) -> None:
        """Delete what a training before left, when one begins anew."""
        for name in (HISTORY, CHECKPOINT, RESULTS, WEIGHTS, ROWS, SAMPLES, PLOT):
            (self.path / name).unlink(missing_ok=True)

    def note(self, record: Record) -> None:
        """Add an epoch to the history."""
        self.note_line(asdict(record))

    def note_line(self, line: Mapping[str, Any]) -> None:
        """Add a JSON object to the history."""
        with writing(self.path / HISTORY), (self.path / HISTORY).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def finish(
        self, results: Results, levels: Sequence[FittedLevel], weights: Mapping[str, Tensor]
    ) -> None:
        """Write everything that a bundle needs, and delete the checkpoint."""
        for level in levels:
            for name, content in level.tables.items():
                write_whole(self.path / TABLES / name, content)
        self.write(results, weights, {"recipe": results.recipe})

    def write(
        self, results: object, weights: Mapping[str, Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Write results, a dataclass, and weights, and delete the checkpoint."""
        write_tensors(self.path / WEIGHTS, weights, facts)
        text = json.dumps({"version": VERSION, **to_json(results)}, indent=1, allow_nan=False)
        write_whole(self.path / RESULTS, f"{text}\n".encode())
        self.checkpoint.unlink(missing_ok=True)

    def results(self) -> Results:
        """Return what the training of a learned path reached (raises `TrainingError`)."""
        return self.read(Results)

    def read(self, cls: type[T]) -> T:
        """Return what a training reached, as the dataclass of its results.

        Raises
        ------
        TrainingError
            The folder holds no finished training, or one of something else.
        """
        file = self.path / RESULTS
        try:
            data = json.loads(file.read_bytes())
            strange = "exits" if cls is Results else "levels"
            if isinstance(data, dict) and strange in data:
                option = "--exit-heads" if cls is Results else "--learned"
                raise TrainingError(
                    f"{self.path} holds results of the recipe {data.get('recipe')!r}: give it to "
                    f"splitnet build {option}"
                )
            return Reader(RESULTS, VERSION, refuse_unknown=True).read(cls, data)
        except FileNotFoundError:
            going = "; go on with --resume" if self.checkpoint.exists() else ""
            raise TrainingError(f"{self.path} holds no finished training{going}") from None
        except (OSError, ValueError, BundleError) as error:
            raise TrainingError(f"{file} is damaged ({error}); train again") from error

    def keep_samples(self, digests: Sequence[bytes]) -> None:
        """Keep digests of the training samples."""
        write_whole(self.path / SAMPLES, b"".join(digests))

    def samples(self) -> frozenset[bytes] | None:
        """Return the digests of the training samples, ``None`` if they were not kept.

        Raises
        ------
        TrainingError
            They cannot be read.
        """
        file = self.path / SAMPLES
        try:
            found = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TrainingError(f"cannot read {file}: {error.strerror}; train again") from error
        if not found or len(found) % DIGEST_BYTES:
            raise TrainingError(f"{file} is damaged; train again")
        starts = range(0, len(found), DIGEST_BYTES)
        return frozenset(found[start : start + DIGEST_BYTES] for start in starts)

    def keep_rows(self, levels: Sequence[LevelRows]) -> None:
        """Keep what each level did on each test sample, for those who compare sample by sample."""
        score = np.stack([level.score for level in levels]).astype(np.float32)
        content = io.BytesIO()
        np.savez_compressed(
            content, score=score, nbytes=np.stack([level.nbytes for level in levels])
        )
        write_whole(self.path / ROWS, content.getvalue())

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
