"""What is checked before the first frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitnet.edge.running import _check_labels
from splitnet.edge.sources import Frame, Source, open_source
from splitnet.errors import ConfigError
from splitnet.runtime.reading import Boxes, Logits
from splitnet.values import TensorSpec

ONE = TensorSpec("y", "float32", ("N", 10))
PAGE = TensorSpec("y", "float32", ("N", 3, 10))
TEXT = TensorSpec("y", "float32", ("N", "T", 10))


@pytest.mark.parametrize(
    ("output", "width"), [(ONE, 1), (PAGE, 3), (ONE, None), (PAGE, None), (TEXT, 7)]
)
def test_labels_of_the_model_s_width_or_none(
    tmp_path: Path, output: TensorSpec, width: int | None
) -> None:
    x = np.zeros((2, 4, 4), np.uint8)
    if width is None:
        np.savez(tmp_path / "x.npz", x=x)
    else:
        np.savez(tmp_path / "x.npz", x=x, y=np.zeros((2, width), np.int64))
    _check_labels(open_source(str(tmp_path / "x.npz")), output, Logits())


@pytest.mark.parametrize(("output", "width"), [(ONE, 3), (PAGE, 1)])
def test_labels_of_another_width(tmp_path: Path, output: TensorSpec, width: int) -> None:
    x, y = np.zeros((2, 4, 4), np.uint8), np.zeros((2, width), np.int64)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    with pytest.raises(ConfigError, match=rf"x\.npz: the model gives .*, the data has {width};"):
        _check_labels(open_source(str(tmp_path / "x.npz")), output, Logits())


@pytest.mark.parametrize("output", [PAGE, TEXT])
def test_a_label_out_of_range(tmp_path: Path, output: TensorSpec) -> None:
    x, y = np.zeros((8, 4, 4), np.uint8), np.full((8, 3), 9)
    y[5, 1] = 10
    np.savez(tmp_path / "x.npz", x=x, y=y)
    message = r"x\.npz\[5\] has the label 10, the model knows 10 classes, 0 to 9; "
    with pytest.raises(ConfigError, match=message):
        _check_labels(open_source(str(tmp_path / "x.npz")), output, Logits())
    _check_labels(open_source(f"{tmp_path / 'x.npz'}[:5]"), output, Logits())


def test_more_folders_than_the_model_knows_classes(tmp_path: Path) -> None:
    for number in range(11):
        (tmp_path / f"{number:02}").mkdir()
        Image.new("L", (4, 4)).save(tmp_path / f"{number:02}" / "a.png")
    with pytest.raises(ConfigError, match=r"10/a\.png has the label 10"):
        _check_labels(open_source(str(tmp_path)), ONE, Logits())


def test_a_source_that_knows_no_labels_beforehand() -> None:
    class Camera(Source):
        def frames(self) -> Iterator[Frame]:
            while True:
                yield Frame("now", lambda: np.zeros((4, 4), np.uint8), np.array([3]))

    _check_labels(Camera("front"), ONE, Logits())


def test_labels_for_a_detector(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 4, 4), np.uint8), y=np.zeros(2, np.int64))
    with pytest.raises(ConfigError, match=r"x\.npz: the data has labels"):
        _check_labels(open_source(str(tmp_path / "x.npz")), PAGE, Boxes())
