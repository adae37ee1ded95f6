"""Samples in two roles are found, whether they are arrays, files or several inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitnet.builder.data import Dataset, Roles
from splitnet.builder.overlap import check_learned_from, check_overlap
from splitnet.errors import ConfigError
from splitnet.runtime.samples import Samples
from splitnet.training.results import Folder


def _data(name: str, values: range, second: range | None = None) -> Dataset:
    more = {} if second is None else {"x1": np.array(second, np.int64).reshape(-1, 1)}
    samples = [np.full((4, 4), v, np.int64) for v in values]
    return Dataset(Samples(samples, more=more), name)


def test_roles_that_share_nothing() -> None:
    roles = Roles(
        _data("a", range(200)), _data("b", range(200, 300)), _data("c", range(300, 400)), ()
    )
    assert check_overlap(roles) == ()


def test_a_duplicate_is_noted_and_training_data_refused() -> None:
    training, test = _data("a", range(200)), _data("c", range(300, 400))
    roles = Roles(training, _data("b", range(199, 300)), test, ())
    assert check_overlap(roles) == ("1 of 101 calibration samples are training samples too",)
    roles = Roles(training, _data("b", range(100, 300)), test, ())
    with pytest.raises(ConfigError, match=r"100 of 200 calibration samples .* \(a and b\)"):
        check_overlap(roles)


def test_every_input_counts() -> None:
    roles = Roles(
        _data("a", range(9), range(9)),
        _data("b", range(9), range(1, 10)),
        _data("c", range(9, 12)),
        (),
    )
    assert check_overlap(roles) == ()


def test_files_are_compared_by_content(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (Dataset(Samples([tmp_path / name], None), name) for name in "abc")
    assert check_overlap(Roles(a, c, c.rows([]), ())) == ()
    with pytest.raises(ConfigError, match="1 of 1 test samples are training samples too"):
        check_overlap(Roles(a, c, b, ()))


def test_what_something_learned_from_is_refused_and_said_if_nobody_knows(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    roles = Roles(
        _data("a", range(9)), _data("b", range(100, 300)), _data("c", range(300, 400)), ()
    )
    (note,) = check_learned_from(folder, "the exits", roles)
    assert note.startswith(f"it is not known what the exits in {tmp_path} learned from")
    folder.keep_samples(_data("d", range(50)).digests)
    assert check_learned_from(folder, "the exits", roles) == ()
    folder.keep_samples(_data("d", range(299, 301)).digests)
    (first,) = check_learned_from(folder, "the exits", roles)[:1]
    assert first == f"1 of 200 calibration samples (b) have trained the exits in {tmp_path}"
    folder.keep_samples(_data("d", range(390, 500)).digests)
    with pytest.raises(ConfigError, match=r"10 of 100 test samples \(c\) have trained"):
        check_learned_from(folder, "the exits", roles)
