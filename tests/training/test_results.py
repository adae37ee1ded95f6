"""The folder of a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.codecs.tables import hash_of
from splitnet.errors import TrainingError
from splitnet.runtime.samples import DIGEST_BYTES
from splitnet.training.levels import FittedLevel
from splitnet.training.recipe import Form
from splitnet.training.results import (
    RESULTS,
    TABLES,
    WEIGHTS,
    Folder,
    LevelResult,
    LevelRows,
    Results,
)
from splitnet.training.session import Record

TABLE = b"a table"
LEVEL = FittedLevel("fine", {"id": "rans", "table": hash_of(TABLE)}, {hash_of(TABLE): TABLE})
FOUND = Results(
    recipe="entropic",
    config={"rate": 0.5},
    settings={"model": "m:f"},
    source="input",
    target="layer1",
    form=Form((3, 8, 8), (4, 8, 8), True),
    network="0" * 64,
    teacher=(0.9, None),
    levels=(LevelResult("fine", LEVEL.codec, tuple(LEVEL.tables), (0.8, 12.5), (0.75, 12.0)),),
    flops={"encoder": 1, "network": 10},
    seconds=1.5,
    git="",
    notes=("a note",),
)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with results."""
    folder = Folder(tmp_path / "results")
    folder.begin("[train]")
    folder.checkpoint.write_bytes(b"state")
    folder.finish(FOUND, [LEVEL], {"encoder.a": torch.arange(3)})
    return folder


def test_results_weights_and_tables_come_back(folder: Folder) -> None:
    assert folder.results() == FOUND
    assert folder.weights()["encoder.a"].tolist() == [0, 1, 2]
    assert folder.tables(FOUND.levels[0]) == LEVEL.tables
    assert not folder.checkpoint.exists()


def test_the_history_grows_until_it_is_forgotten(folder: Folder) -> None:
    for epoch in (1, 2):
        folder.note(Record("features", epoch, 0.5, {}, (0.5,), (10.0,)))
    history = folder.path / "history.jsonl"
    assert len(history.read_text().splitlines()) == 2
    folder.keep_samples([bytes(DIGEST_BYTES)])
    folder.keep_rows([LevelRows(np.ones(2), np.ones(2, np.int64))])
    folder.checkpoint.write_bytes(b"")
    folder.forget()
    assert {path.name for path in folder.path.iterdir()} <= {"recipe.toml", TABLES}


def test_samples_that_nobody_kept_are_not_known(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert folder.samples() is None
    (tmp_path / "samples.bin").write_bytes(b"a" * (DIGEST_BYTES + 3))
    with pytest.raises(TrainingError, match=r"samples.bin is damaged"):
        folder.samples()
    folder.keep_samples([b"a" * DIGEST_BYTES, b"b" * DIGEST_BYTES])
    assert folder.samples() == frozenset({b"a" * DIGEST_BYTES, b"b" * DIGEST_BYTES})


def test_an_unfinished_training_says_how_to_go_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with pytest.raises(TrainingError, match=r"holds no finished training$"):
        folder.results()
    folder.checkpoint.write_bytes(b"")
    with pytest.raises(TrainingError, match="go on with --resume"):
        folder.results()


def test_damage_is_named(folder: Folder) -> None:
    table = folder.path / TABLES / hash_of(TABLE)
    table.write_bytes(b"another")
    with pytest.raises(TrainingError, match="is damaged"):
        folder.tables(FOUND.levels[0])
    table.unlink()
    with pytest.raises(TrainingError, match="cannot read"):
        folder.tables(FOUND.levels[0])
    (folder.path / WEIGHTS).write_bytes(b"x")
    with pytest.raises(TrainingError, match="missing or damaged"):
        folder.weights()
    (folder.path / RESULTS).write_text('{"version": 1, "recipe": 3}')
    with pytest.raises(TrainingError, match="damaged"):
        folder.results()


def test_the_results_name_shapes_as_they_were() -> None:
    assert replace(FOUND).form.source == (3, 8, 8)
