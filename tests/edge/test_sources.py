"""From the text behind --source to frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from splitnet.edge.sources import Frame, open_source, readable_sample
from splitnet.errors import ConfigError
from splitnet.runtime.inputs import Sample

X = np.arange(32, dtype=np.uint8).reshape(8, 2, 2)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=X, y=np.arange(8))
    return tmp_path / "x.npz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"broken")
    Image.new("L", (3, 2)).save(folder / "2.png")
    return folder


def frames(spec: str | Path) -> list[Frame]:
    return list(open_source(str(spec)).frames())


def image_of(sample: Sample) -> NDArray[Any]:
    assert isinstance(sample, np.ndarray)
    return sample


@pytest.mark.parametrize("spec", ["{}", "npz:{}"])
def test_the_rows_of_an_npz(npz: Path, spec: str) -> None:
    found = frames(spec.format(npz))
    assert [frame.name for frame in found] == [f"{npz}[{row}]" for row in range(8)]
    np.testing.assert_array_equal(found[5].load(), X[5])
    assert found[5].truth is not None
    assert found[5].truth.tolist() == [5]


def test_a_range_of_rows_keeps_their_names(npz: Path) -> None:
    found = frames(f"{npz}[2:4]")
    assert [frame.name for frame in found] == [f"{npz}[2]", f"{npz}[3]"]
    np.testing.assert_array_equal(found[0].load(), X[2])
    with pytest.raises(ConfigError, match="holds no samples"):
        frames(f"{npz}[8:]")


def test_several_inputs_come_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", marks=X[:, 0], x=X, y=np.arange(8))
    sample = frames(f"{tmp_path / 'two.npz'}[3:]")[1].load()
    assert isinstance(sample, dict) and list(sample) == ["x", "marks"]
    np.testing.assert_array_equal(sample["x"], X[4])
    np.testing.assert_array_equal(sample["marks"], X[4, 0])


def test_frames_start_again_with_every_call(npz: Path) -> None:
    source = open_source(str(npz))
    assert len(list(source.frames())) == len(list(source.frames())) == 8


def test_images_are_read_when_they_are_needed(folder: Path) -> None:
    broken, good = frames(folder)
    assert image_of(good.load()).shape == (2, 3)
    with pytest.raises(ConfigError, match=r"1\.png"):
        broken.load()
    assert [frame.name for frame in frames(folder / "2.png")] == [str(folder / "2.png")]


def test_the_first_readable_sample(folder: Path) -> None:
    assert image_of(readable_sample(open_source(str(folder)))()).shape == (2, 3)
    (folder / "2.png").write_bytes(b"broken, too")
    with pytest.raises(ConfigError, match=r"cannot read the image .*1\.png"):
        readable_sample(open_source(str(folder)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing.npz", "there is no file nothing.npz"),
        ("nothing.png", "there is no image nothing.png"),
        ("nothing", r"there is no nothing; a source is .* kinds images, npz"),
        ("camera:0", r"there is no camera:0; .* kinds images, npz"),
        (__file__, r"source is an \.npz file"),
    ],
)
def test_what_is_no_source(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        frames(spec)
