"""What a teacher says, and where it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from splitnet.console import Silent
from splitnet.errors import ModelError
from splitnet.training.addressing import Network
from splitnet.training.teacher import Arithmetic, Teacher, check_teacher, hash_modules
from splitnet.training.views import Views
from tests.training.conftest import Colours, colour_data


def test_answers_are_computed_once(network: Network, tmp_path: Path) -> None:
    data, views = colour_data(20, 0), Views(flip=True, count=2)
    first = Teacher([network.module], Arithmetic(), tmp_path)
    answers = first.answers(data, views, 1, Silent())
    (file,) = tmp_path.iterdir()
    assert answers.shape == (20, 3) and answers.dtype == np.float16
    np.save(file, answers + 1)
    again = Teacher([network.module], Arithmetic(), tmp_path)
    assert np.array_equal(again.answers(data, views, 1, Silent()), answers + 1)
    again.answers(data, views, 0, Silent())
    assert len(list(tmp_path.iterdir())) == 2


def test_other_weights_data_or_copies_are_other_answers(network: Network, tmp_path: Path) -> None:
    other = Colours().eval()
    other.head.bias.data += 1
    views = Views(flip=True)
    for module, count, copies in (
        (network.module, 20, views),
        (other, 20, views),
        (network.module, 21, views),
        (network.module, 20, Views(shift=1)),
    ):
        Teacher([module], Arithmetic(), tmp_path).answers(
            colour_data(count, 0), copies, 0, Silent()
        )
    assert len(list(tmp_path.iterdir())) == 4


class _Reversed(nn.Module):
    """The same weights under the same names, in another order of operations."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._said(x).flip(1)

    def _said(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.inner(x)
        return found


class _Plain(_Reversed):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._said(x)


def test_other_operations_on_the_same_weights_are_another_network(
    network: Network, tmp_path: Path
) -> None:
    data = colour_data(20, 0)
    plain, changed = (kind(network.module).eval() for kind in (_Plain, _Reversed))
    assert hash_modules([plain]) == hash_modules([changed])
    teachers = [Teacher([module], Arithmetic(), tmp_path) for module in (plain, changed)]
    said, reversed_ = (each.answers(data, Views(), 0, Silent()) for each in teachers)
    assert np.array_equal(said[:, ::-1], reversed_)
    assert teachers[0].key(data) != teachers[1].key(data)


def test_a_damaged_file_is_computed_again(network: Network, tmp_path: Path) -> None:
    data = colour_data(20, 0)
    expected = Teacher([network.module], Arithmetic(), tmp_path).answers(data, Views(), 0, Silent())
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    found = Teacher([network.module], Arithmetic(), tmp_path).answers(data, Views(), 0, Silent())
    assert np.array_equal(found, expected)


def test_ever_new_copies_are_not_kept(network: Network, tmp_path: Path) -> None:
    teacher = Teacher([network.module], Arithmetic(), tmp_path / "none")
    teacher.answers(colour_data(8, 0), Views(flip=True, count=0), 5, Silent())
    assert not (tmp_path / "none").exists()


def test_several_teachers_speak_with_one_voice(network: Network) -> None:
    other = Colours().eval()
    other.head.bias.data += 2
    x = torch.rand(2, 3, 16, 16)
    both = Teacher([network.module, other], Arithmetic()).answer(x)
    assert torch.allclose(both, Teacher([network.module], Arithmetic()).answer(x) + 1, atol=1e-5)
    assert hash_modules([network.module]) != hash_modules([other])


def test_a_teacher_must_know_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, (200, 1))
    good = np.eye(10)[labels[:, 0]]
    assert check_teacher(good, labels) == 1.0
    assert check_teacher(good, None) is None
    with pytest.raises(ModelError, match=r"right on .*% of 200 calibration samples, chance alone"):
        check_teacher(rng.random((200, 10)), labels)
    with pytest.raises(ModelError, match="not finite"):
        check_teacher(good * np.nan, labels)
