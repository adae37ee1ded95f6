"""Data of the three roles: where it comes from, how it is split, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from splitnet.builder.data import PAGES, SPLIT, Dataset, load_data, load_roles
from splitnet.errors import ConfigError


def _npz(path: Path, count: int = 50, **arrays: Any) -> str:
    x = np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2)
    np.savez(path, **{"x": x, "y": np.arange(count) % 3, **arrays})
    return str(path)


def _content(data: Dataset) -> set[bytes]:
    return {data.load(i).tobytes() for i in range(len(data))}


def _digits_of(data: Dataset) -> set[bytes]:
    pages = np.stack([data.load(i) for i in range(len(data))])
    cells = pages.reshape(-1, 8, 8, 8, 8).transpose(0, 1, 3, 2, 4).reshape(-1, 64)
    return {cell.tobytes() for cell in cells}


def test_pages_of_digits() -> None:
    data = load_data("digits:pages=20", "training")
    assert len(data) == 20
    page = data.load(0)
    assert page.shape == (64, 64) and page.dtype == np.uint8 and page.max() == 255
    assert (
        data.y is not None and data.y.shape == (20, 64) and set(np.unique(data.y)) == {*range(10)}
    )
    assert data.samples.classes == tuple("0123456789")


def test_digits_are_split_before_pages_are_drawn() -> None:
    roles = load_roles("digits", None, None)
    found = [_digits_of(d) for d in (roles.training, roles.calibration, roles.test)]
    assert [len(d) for d in (roles.training, roles.calibration, roles.test)] == list(PAGES.values())
    assert not found[0] & found[1] and not found[0] & found[2] and not found[1] & found[2]
    shares = np.array([len(digits) for digits in found]) / 1797
    assert shares == pytest.approx(list(SPLIT.values()), abs=0.005)  # every digit was drawn
    assert roles.notes == ()


def test_pages_depend_on_the_seed_but_the_split_does_not() -> None:
    first, again, other = (load_data("digits:pages=30", "test", seed) for seed in (0, 0, 1))
    assert _content(first) == _content(again) != _content(other)
    training = load_data("digits", "training", seed=0)
    assert not _digits_of(other) & _digits_of(training)


@pytest.mark.parametrize("spec", ["digits:pages=0", "digits:page=3", "digits:pages=x"])
def test_digits_options_are_checked(spec: str) -> None:
    with pytest.raises(ConfigError, match="pages"):
        load_data(spec, "test")


def test_data_alone_is_split_by_seed_and_says_so(tmp_path: Path) -> None:
    spec = _npz(tmp_path / "d.npz")
    roles = load_roles(spec, None, None, seed=3)
    parts = [_content(d) for d in (roles.training, roles.calibration, roles.test)]
    assert [len(p) for p in parts] == [30, 10, 10]
    assert len(set.union(*parts)) == 50
    assert "split by seed: 30 training, 10 calibration, 10 test" in roles.notes[0]
    assert "may have seen" in roles.notes[1]
    assert _content(load_roles(spec, None, None, seed=3).test) == parts[2]
    assert _content(load_roles(spec, None, None, seed=4).test) != parts[2]


def test_a_sample_is_called_by_its_place_in_the_file(tmp_path: Path) -> None:
    data = load_roles(_npz(tmp_path / "d.npz"), None, None).test
    number = int(data.name(3).split()[1])
    assert data.name(3) == f"sample {number} of {tmp_path / 'd.npz'}"
    whole = load_data(str(tmp_path / "d.npz"), "test")
    np.testing.assert_array_equal(whole.load(number), data.load(3))
    assert data.rows([3]).name(0) == data.name(3)


@pytest.mark.parametrize("kept", [b"hello", b"\x93NUMPY\x01\x00", None])
def test_a_file_that_is_no_npz(tmp_path: Path, kept: bytes | None) -> None:
    file = Path(_npz(tmp_path / "d.npz"))
    file.write_bytes(file.read_bytes()[:500] if kept is None else kept)
    with pytest.raises(ConfigError, match=r"d\.npz is not a readable \.npz file: truncated"):
        load_data(str(file), "training")


def test_given_roles_are_taken_as_they_are(tmp_path: Path) -> None:
    spec = _npz(tmp_path / "d.npz")
    roles = load_roles(f"{spec}[:20]", f"{spec}[20:30]", f"{spec}[30:]")
    assert [len(d) for d in (roles.training, roles.calibration, roles.test)] == [20, 10, 20]
    assert roles.notes == ()
    half = load_roles(f"{spec}[:20]", None, f"{spec}[30:]")
    assert len(half.training) + len(half.calibration) == 20 and len(half.notes) == 2


def test_labels_follow_their_samples(tmp_path: Path) -> None:
    data = load_roles(_npz(tmp_path / "d.npz"), None, None).test
    assert data.y is not None
    assert [int(data.load(i)[0, 0]) // 4 % 3 for i in range(len(data))] == data.y[:, 0].tolist()


def test_one_source_for_two_roles_is_refused(tmp_path: Path) -> None:
    spec = _npz(tmp_path / "d.npz")
    with pytest.raises(ConfigError, match="training and for test; roles never share samples"):
        load_roles(spec, None, spec)


def test_too_few_samples_to_split(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="5 samples, too few"):
        load_roles(_npz(tmp_path / "d.npz", 5), None, None)


def test_image_folder(tmp_path: Path) -> None:
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (6, 4), (index, 0, 0)).save(tmp_path / name / "a.png")
    data = load_data(str(tmp_path), "training")
    assert data.y is not None and data.y.tolist() == [[0], [1]]
    assert data.samples.classes == ("cat", "dog")
    assert data.load(1).shape == (4, 6, 3) and data.load(1)[0, 0, 0] == 1
    assert data.name(1) == str(tmp_path / "dog" / "a.png")
    assert load_data(str(tmp_path / "cat"), "test").y is None


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    data = load_data(str(tmp_path), "training")
    with pytest.raises(ConfigError, match=r"broken\.png"):
        data.load(0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros(3, int)}, "x has 50 samples, but y has 3"),
        ({"y": np.zeros(50)}, "whole numbers"),
        ({"y": np.full(50, -1)}, "label -1"),
        ({"x": np.array(["a"] * 50)}, "must be numbers"),
        ({"x": np.zeros((0, 2, 2))}, "must be numbers"),
    ],
)
def test_npz_is_checked(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_data(_npz(tmp_path / "d.npz", **arrays), "training")


def test_places_that_hold_no_data(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.csv").write_text("1")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    np.savez(tmp_path / "other.npz", z=np.zeros(3))
    for name, message in [
        ("empty", "holds no images"),
        ("missing", "there is no data at"),
        ("x.csv", "neither a folder nor an .npz"),
        ("torn.npz", "not a readable"),
        ("other.npz", "z must be numbers"),
        ("d.npz[90:]", "holds no samples"),
    ]:
        _npz(tmp_path / "d.npz")
        with pytest.raises(ConfigError, match=message):
            load_data(str(tmp_path / name), "training")


def test_sources_are_joined(tmp_path: Path) -> None:
    for name, start in (("a", 0), ("b", 100)):
        x = np.arange(start, start + 12, dtype=np.uint8).reshape(4, 3)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(4) + start)
    data = load_data(f"{tmp_path}/a.npz+{tmp_path}/b.npz[1:3]", "training")
    assert len(data) == 6 and data.load(4).tolist() == [103, 104, 105]
    assert data.y is not None and data.y[:, 0].tolist() == [0, 1, 2, 3, 101, 102]
    np.savez(tmp_path / "c.npz", x=np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="cannot be joined: their classes, labels or inputs"):
        load_data(f"{tmp_path}/a.npz+{tmp_path}/c.npz", "training")
