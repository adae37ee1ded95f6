"""The state of a training on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from splitnet.errors import TrainingError
from splitnet.training.checkpoints import Checkpoint, read_tensors, under, write_tensors


def test_tensors_and_facts_come_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state", "key")
    state = {"a": torch.arange(3), "b": torch.tensor(2.5), "c": torch.ones(2, 3).t()}
    checkpoint.save(under("module", state), {"at": 7})
    kept = checkpoint.load()
    assert kept is not None and kept.facts["at"] == 7
    found = kept.part("module")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_there_is_nothing_at_first_and_in_the_end(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state", "key")
    assert checkpoint.load() is None
    checkpoint.save({}, {})
    checkpoint.delete()
    assert checkpoint.load() is None


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "state", "one").save({}, {})
    with pytest.raises(TrainingError, match="another training: recipe, network or data"):
        Checkpoint(tmp_path / "state", "other").load()


@pytest.mark.parametrize("keep", [0, 3, 20, -1])
def test_a_damaged_file_is_named(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "state"
    write_tensors(file, {"a": torch.ones(100)}, {})
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(TrainingError, match="state is missing or damaged"):
        read_tensors(file)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "state"
    write_tensors(file, {"a": torch.ones(1)}, {})
    file.with_name("state.new").mkdir()
    with pytest.raises(TrainingError, match="cannot write"):
        write_tensors(file, {"a": torch.zeros(1)}, {})
    assert read_tensors(file).tensors["a"] == 1


def test_a_state_is_due_after_a_while(tmp_path: Path) -> None:
    now = [0.0]
    checkpoint = Checkpoint(tmp_path / "state", "key", every_s=60, clock=lambda: now[0])
    assert not checkpoint.due
    now[0] = 60
    assert checkpoint.due
    checkpoint.save({}, {})
    assert not checkpoint.due
