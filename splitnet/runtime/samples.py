"""Samples on disk with their labels: ``.npz`` files, folders of images, single images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle.npz import ZIP_DAMAGE
from splitnet.errors import ConfigError

Array: TypeAlias = NDArray[Any]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm"})


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples with their labels if there are any.

    Attributes
    ----------
    x
        Arrays, or paths of images that are read on demand.
    y
        Labels ``(N, P)``, ``None`` if there are none.
    classes
        Names of the classes in the order of their labels, empty if unknown.
    """

    x: Sequence[Array | Path]
    y: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def part(self, rows: slice) -> Samples:
        """Return the samples of a range of rows."""
        return Samples(self.x[rows], None if self.y is None else self.y[rows], self.classes)

    def load(self, index: int) -> Array:
        """Return sample `index` as an array, reading its image if need be.

        Raises
        ------
        ConfigError
            The image cannot be read; the message names its file.
        """
        item = self.x[index]
        return read_image(item) if isinstance(item, Path) else item


def split_range(spec: str) -> tuple[str, slice]:
    """Return place and range of rows of a text such as ``images.npz[100:200]``."""
    found = re.fullmatch(r"(.+)\[(\d*):(\d*)\]", spec)
    if not found:
        return spec, slice(None)
    start, stop = (int(text) if text else None for text in found.group(2, 3))
    return found[1], slice(start, stop)


def read_npz(path: Path) -> Samples:
    """Return the samples ``x`` and, if present, the labels ``y`` of an ``.npz`` file.

    Raises
    ------
    ConfigError
        The file is missing, damaged, or holds no such arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if "x" not in arrays:
                found = ", ".join(arrays.files) or "nothing"
                raise ConfigError(f"{path} must hold an array 'x' (and labels 'y'), found {found}")
            x, y = arrays["x"], arrays["y"] if "y" in arrays else None
            classes = tuple(str(n) for n in arrays["classes"]) if "classes" in arrays else ()
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except (*ZIP_DAMAGE, MemoryError) as error:
        raise ConfigError(f"{path} is not a readable .npz file: {error}") from error
    if x.dtype.kind not in "uif" or x.ndim < 2 or not len(x):
        raise ConfigError(f"{path}: x must be numbers of shape (N, ...), found {x.dtype} {x.shape}")
    return Samples(list(x), None if y is None else _labels(path, y, len(x)), classes)


def read_folder(folder: Path) -> Samples:
    """Return the images of a folder; sub-folders, in alphabetical order, are their classes.

    Raises
    ------
    ConfigError
        There are no images.
    """
    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    if not classes:
        return Samples(_images(folder))
    found = [_images(path) for path in classes]
    labels = np.repeat(np.arange(len(classes)), [len(images) for images in found])
    names = tuple(path.name for path in classes)
    return Samples([image for images in found for image in images], labels[:, None], names)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image as uint8, ``(H, W)`` if it is grey and ``(H, W, 3)`` otherwise.

    Raises
    ------
    ConfigError
        The file is not a readable image; the message names it.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot read the image {path}: {reason}; remove or replace it"
        ) from error


def _images(folder: Path) -> list[Path]:
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise ConfigError(
            f"the folder {folder} holds no images; known are {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return images


def _labels(path: Path, y: Array, count: int) -> NDArray[np.int64]:
    if y.dtype.kind not in "ui" or y.ndim not in (1, 2):
        raise ConfigError(
            f"{path}: y must be whole numbers of shape (N,) or (N, P), found {y.dtype} {y.shape}"
        )
    if len(y) != count:
        raise ConfigError(f"{path}: x has {count} samples, but y has {len(y)} labels")
    if y.size and y.min() < 0:
        raise ConfigError(f"{path}: y holds the label {y.min()}; labels start at 0")
    return y.astype(np.int64).reshape(count, -1)
