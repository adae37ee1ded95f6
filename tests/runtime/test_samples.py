"""Samples on disk, readable and not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from splitnet.errors import ConfigError
from splitnet.runtime.samples import read_folder, read_image, read_npz


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_npz_with_labels_and_classes(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    path = save(tmp_path / "a.npz", x=x, y=np.array([0, 1, 1]), classes=np.array(["cat", "dog"]))
    samples = read_npz(path)
    assert len(samples) == 3
    np.testing.assert_array_equal(samples.load(2), x[2])
    assert samples.y is not None
    assert samples.y.tolist() == [[0], [1], [1]]
    assert samples.classes == ("cat", "dog")


def test_labels_are_optional_and_may_be_pages(tmp_path: Path) -> None:
    x = np.zeros((2, 4, 4), np.float32)
    assert read_npz(save(tmp_path / "a.npz", x=x)).y is None
    pages = read_npz(save(tmp_path / "b.npz", x=x, y=np.ones((2, 64), np.uint8)))
    assert pages.y is not None
    assert pages.y.shape == (2, 64)


def test_several_inputs_by_order_or_by_name(tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(3, 2)
    ordered = read_npz(save(tmp_path / "a.npz", **{f"x{n}": x + n for n in (10, 2, 1)}, x=x))
    assert [ordered.first, *ordered.more] == ["x", "x1", "x2", "x10"]
    named = read_npz(save(tmp_path / "b.npz", ids=x, mask=x > 2, y=np.zeros(3, int))).part(
        slice(1, 3)
    )
    sample = named.sample(1)
    assert isinstance(sample, dict) and list(sample) == ["ids", "mask"]
    assert sample["ids"].tolist() == [4, 5] and sample["mask"].tolist() == [True, True]
    picked = named.pick(np.array([1, 0])).sample(1)
    assert isinstance(picked, dict) and picked["ids"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros(3, int)}, "must hold an array 'x'.* found y"),
        ({"z": np.zeros(3)}, r"z must be numbers of shape \(N, ...\), found float64 \(3,\)"),
        (
            {"x": np.zeros((2, 3)), "ids": np.array(["a", "b"])},
            "ids must be numbers .* is an input",
        ),
        ({"x": np.zeros((2, 3)), "x1": np.zeros((3, 3))}, "x1 has 3 samples, x has 2"),
        ({"x": np.zeros(3)}, r"shape \(N, ...\), found float64 \(3,\)"),
        ({"x": np.zeros((0, 3))}, r"found float64 \(0, 3\)"),
        ({"x": np.array([["a"]])}, "must be numbers"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(3, int)}, "2 samples, but y has 3 labels"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(2)}, "must be whole numbers"),
        ({"x": np.zeros((2, 3)), "y": np.array([0, -1])}, "holds the label -1"),
    ],
)
def test_an_npz_of_another_kind(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_npz(save(tmp_path / "a.npz", **arrays))


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        read_npz(tmp_path / "nothing.npz")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ConfigError, match="not a readable"):
        read_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.array([object()]), allow_pickle=True)
    with pytest.raises(ConfigError, match="not a readable"):
        read_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_damaged_byte_is_a_config_error_or_harmless(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    save(tmp_path / "a.npz", x=np.arange(96, dtype=np.uint8).reshape(6, 4, 4))
    data = (tmp_path / "a.npz").read_bytes()
    refused = 0
    for place, mask in product(range(len(data)), (0x01, 0x04, 0xFF)):
        damaged = bytearray(data)
        damaged[place] ^= mask
        (tmp_path / "b.npz").write_bytes(damaged)
        try:
            read_npz(tmp_path / "b.npz")
        except ConfigError as error:
            assert "b.npz" in str(error)
            refused += 1
    assert refused > len(data)


def test_folders_with_and_without_classes(tmp_path: Path) -> None:
    for name in ("b/1.png", "b/2.PNG", "a/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (5, 4), "red").save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    samples = read_folder(tmp_path)
    assert [path.name for path in samples.x if isinstance(path, Path)] == [
        "3.jpg",
        "1.png",
        "2.PNG",
    ]
    assert samples.y is not None
    assert samples.y.tolist() == [[0], [1], [1]]
    assert samples.classes == ("a", "b")
    assert samples.load(1).shape == (4, 5, 3)
    flat = read_folder(tmp_path / "b")
    assert (len(flat), flat.y) == (2, None)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no images; known are \.bmp"):
        read_folder(tmp_path)


def test_images_are_grey_or_rgb(tmp_path: Path) -> None:
    for mode, shape in (("L", (4, 5)), ("RGB", (4, 5, 3)), ("RGBA", (4, 5, 3)), ("P", (4, 5, 3))):
        Image.new(mode, (5, 4)).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png").shape == shape


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read the image .*a\.png") as caught:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.png: No such file or directory"):
        read_image(tmp_path / "a.png")
