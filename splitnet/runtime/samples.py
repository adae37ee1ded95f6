"""Samples on disk with their labels: ``.npz`` files, folders of images, single images."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle.npz import ZIP_DAMAGE
from splitnet.errors import ConfigError
from splitnet.runtime.inputs import Sample

Array: TypeAlias = NDArray[Any]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm"})

DIGEST_BYTES = 16
"""Size of what names a sample."""


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
    first
        Name of the input that `x` holds.
    more
        Further inputs of a network that takes several, ``(N, ...)`` each, by their names.
    """

    x: Sequence[Array | Path]
    y: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    first: str = "x"
    more: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def part(self, rows: slice) -> Samples:
        """Return the samples of a range of rows."""
        more = {name: part[rows] for name, part in self.more.items()}
        y = None if self.y is None else self.y[rows]
        return replace(self, x=self.x[rows], y=y, more=more)

    def pick(self, rows: NDArray[np.int64]) -> Samples:
        """Return the samples of `rows` in that order."""
        more = {name: part[rows] for name, part in self.more.items()}
        y = None if self.y is None else self.y[rows]
        return replace(self, x=[self.x[int(row)] for row in rows], y=y, more=more)

    def sample(self, index: int) -> Sample:
        """Return sample `index`: one array, or a mapping if there are several inputs.

        Raises
        ------
        ConfigError
            The image cannot be read; the message names its file.
        """
        array = self.load(index)
        if self.first == "x" and not self.more:
            return array
        return {self.first: array, **{n: np.asarray(part[index]) for n, part in self.more.items()}}

    def load(self, index: int) -> Array:
        """Return the first input of sample `index`, reading its image if need be.

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
    """Return the samples and, if present, the labels ``y`` of an ``.npz`` file.

    Every array but ``y`` and ``classes`` is an input of the network, by its name; ``x``, or else
    the first one, comes first. ``x``, ``x1``, ``x2``, ... are inputs by their order.

    Raises
    ------
    ConfigError
        The file is missing, damaged, or holds no such arrays.
    """
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ConfigError(f"{path} is not a readable .npz file: truncated, or of another kind")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = sorted(set(arrays.files) - {"y", "classes"}, key=_input_order(arrays.files))
            if not names:
                found = ", ".join(arrays.files) or "nothing"
                raise ConfigError(f"{path} must hold an array 'x' (and labels 'y'), found {found}")
            x, *more = (arrays[name] for name in names)
            y = arrays["y"] if "y" in arrays else None
            classes = tuple(str(n) for n in arrays["classes"]) if "classes" in arrays else ()
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except (*ZIP_DAMAGE, MemoryError) as error:
        raise ConfigError(f"{path} is not a readable .npz file: {error}") from error
    first, *others = names
    _check_input(path, first, x)
    if x.ndim < 2 or not len(x):
        raise ConfigError(
            f"{path}: {first} must be numbers of shape (N, ...), found {x.dtype} {x.shape}"
        )
    for name, array in zip(others, more, strict=True):
        _check_input(path, name, array)
        if len(array) != len(x):
            raise ConfigError(
                f"{path}: {name} has {len(array)} samples, {first} has {len(x)}; they must agree"
            )
    found_y = None if y is None else _labels(path, y, len(x))
    return Samples(list(x), found_y, classes, first, dict(zip(others, more, strict=True)))


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


def digests_of(samples: Samples) -> list[bytes]:
    """Return a digest of each sample: of its file, or of its arrays."""
    found = []
    for index, sample in enumerate(samples.x):
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        if isinstance(sample, Path):
            digest.update(sample.read_bytes())
        else:
            digest.update(np.ascontiguousarray(sample).tobytes())
        for part in samples.more.values():
            digest.update(np.ascontiguousarray(part[index]).tobytes())
        found.append(digest.digest())
    return found


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


def _input_order(files: Sequence[str]) -> Callable[[str], tuple[bool, int, int]]:
    """Return the order of inputs: ``x``, then ``x1``, ``x2``, ..., then as they stand."""

    def order(name: str) -> tuple[bool, int, int]:
        number = int(name[1:] or 0) if re.fullmatch(r"x\d*", name) else len(files)
        return name != "x", number, files.index(name)

    return order


def _check_input(path: Path, name: str, array: Array) -> None:
    if array.dtype.kind not in "uifb" or not array.ndim:
        raise ConfigError(
            f"{path}: {name} must be numbers of shape (N, ...), found {array.dtype} {array.shape}; "
            "every array but y and classes is an input"
        )


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
