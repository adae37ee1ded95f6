"""Where the answers of learned paths come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitnet.bundle import Bundle
from splitnet.training.results import Folder, LevelRows

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    right = np.array([[True, False, True], [True, True, True]])
    np.savez(tmp_path / "own.npz", score=right, nbytes=np.array([[9, 8, 7], [20, 30, 40]]))
    return tmp_path / "own.npz"


def test_levels_of_an_npz(file: Path) -> None:
    from rate_learned import read_learned

    (found,) = read_learned(str(file), 100)
    assert found.curve.name == "own" and found.rows.tolist() == [0, 1, 2]
    assert [point.nbytes.mean() for point in found.curve.points] == [8, 30]


def test_results_of_a_training(tmp_path: Path) -> None:
    from rate_learned import read_learned

    rows = [LevelRows(np.array([1.0, 0.0]), np.array([5, 7]))]
    Folder(tmp_path).keep_rows(rows)
    (tmp_path / "results.json").write_text("{}")
    (found,) = read_learned(f"own={tmp_path}", 100)
    (point,) = found.curve.points
    assert (point.right.mean(), point.nbytes.mean()) == rows[0].means() == (0.5, 6.0)


def test_a_name_and_a_first_row(file: Path) -> None:
    from rate_learned import read_learned

    (found,) = read_learned(f"five levels={file}@97", 100)
    assert found.curve.name == "five levels" and found.rows.tolist() == [97, 98, 99]
    assert found.curve.points[0].right.tolist() == [True, False, True]
    with pytest.raises(SystemExit, match="with @98 its samples end at 101 of 100 test images"):
        read_learned(f"{file}@98", 100)


def test_no_sample_in_common(file: Path) -> None:
    from rate_learned import read_learned

    with np.load(file) as arrays:
        np.savez(file, **arrays, rows=np.array([50, 51, 52]))
    with pytest.raises(SystemExit, match="no sample among the first 50"):
        read_learned(str(file), 50)


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    from rate_learned import read_learned

    np.savez(tmp_path / "bad.npz", score=np.ones((2, 3), bool), nbytes=np.ones((2, 4), int))
    with pytest.raises(SystemExit, match=r"score \(2, 3\), nbytes \(2, 4\)"):
        read_learned(str(tmp_path / "bad.npz"), 100)
    np.savez(tmp_path / "bad.npz", right=np.ones((2, 3), bool), nbytes=np.ones((2, 3), int))
    with pytest.raises(SystemExit, match=r"bad.npz has no score"):
        read_learned(str(tmp_path / "bad.npz"), 100)
    np.savez(tmp_path / "bad.npz", score=np.full((2, 3), 0.6), nbytes=np.ones((2, 3), int))
    with pytest.raises(SystemExit, match=r"an answer is right or wrong here"):
        read_learned(str(tmp_path / "bad.npz"), 100)


@pytest.mark.parametrize("text", ["bad.npz", "bad.npz@x"])
def test_what_is_no_result_is_one_line(tmp_path: Path, text: str) -> None:
    from rate_learned import read_learned

    (tmp_path / "bad.npz").write_text("no arrays")
    with pytest.raises(SystemExit, match=r"^error: .*bad.npz"):
        read_learned(str(tmp_path / text), 100)


def test_levels_of_a_bundle(sample_bundle: Bundle) -> None:
    from rate_learned import bundle_curves

    (found,) = bundle_curves(sample_bundle, "sample")
    assert found.curve.name == "sample bottleneck" and len(found.rows) == 200
    table = sample_bundle.table
    for level, point in enumerate(found.curve.points):
        assert point.right.mean() == pytest.approx(table.mean_score("bottleneck", level))
        assert point.nbytes.mean() == pytest.approx(table.mean_bytes("bottleneck", level))
