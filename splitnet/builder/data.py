"""Data for training, calibration and test: image folders, npz files and pages of scanned digits."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError

Role: TypeAlias = Literal["training", "calibration", "test"]
Sample: TypeAlias = "NDArray[Any] | Path"

SPLIT: dict[Role, float] = {"training": 0.6, "calibration": 0.2, "test": 0.2}
"""Shares of data that comes without a split of its own."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm"})

PAGES: dict[Role, int] = {"training": 2000, "calibration": 400, "test": 600}
"""Pages of digits drawn for each role unless ``digits:pages=N`` asks for N training pages."""

PAGE_SIDE = 8
"""Digits in a row and in a column of a page; a digit is 8 x 8 pixels."""

_DIGIT_WHITE = 16
"""Brightest value in scikit-learn's scanned digits."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples of one role, with their labels if there are any.

    Attributes
    ----------
    x
        Arrays as they come from a camera or a file, or paths of images that are read on demand.
    y
        Labels (N, P), ``None`` if the data has none.
    names
        Names of the classes in the order of their labels, empty if unknown.
    source
        Where the samples came from, for people.
    """

    x: Sequence[Sample]
    y: NDArray[np.int64] | None
    names: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.x)

    def sample(self, index: int) -> NDArray[Any]:
        """Return sample `index` as an array, reading its image if need be.

        Raises
        ------
        ConfigError
            The image cannot be read; the message names its file.
        """
        item = self.x[index]
        return read_image(item) if isinstance(item, Path) else item

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> Dataset:
        """Return the samples of `indices` in that order."""
        x = [self.x[int(i)] for i in indices]
        y = None if self.y is None else self.y[np.asarray(indices, np.int64)]
        return Dataset(x, y, self.names, self.source)


@dataclass(frozen=True, slots=True)
class Roles:
    """The three data sets of a build, which share no sample, and what a person should know."""

    training: Dataset
    calibration: Dataset
    test: Dataset
    notes: tuple[str, ...]


def load_data(spec: str, role: Role, seed: int = 0) -> Dataset:
    """Load the samples that `spec` offers for `role`.

    Parameters
    ----------
    spec
        An image folder, an ``.npz`` file with ``x`` and ``y`` (both may be followed by a range of
        samples such as ``[:2400]``), or ``digits``, with options such as
        ``digits:pages=500,seed=1``.
    role
        Only ``digits`` is split by role here; anything else is returned as a whole.
    seed
        Seed of the pages drawn from the digits.

    Raises
    ------
    ConfigError
        The data is missing, damaged, empty or of a form that is not understood.
    """
    name, _, options = spec.partition(":")
    if name == "digits":
        return _digits(_digits_options(spec, options), role, seed)
    place, rows = _range(spec)
    path = Path(place)
    if path.is_dir():
        data = _folder(path)
    elif not path.exists():
        raise ConfigError(f"there is no data at {place}; give a folder, an .npz file or 'digits'")
    elif path.suffix == ".npz":
        data = _npz(path)
    else:
        raise ConfigError(f"{place} is neither a folder nor an .npz file; data is one of the two")
    if rows is not None:
        data = data.rows(range(len(data))[rows])
    if not len(data):
        raise ConfigError(f"{spec} holds no samples")
    return data


def load_roles(data: str, calib: str | None, test: str | None, seed: int = 0) -> Roles:
    """Load training, calibration and test data; what is not given is split off `data` by `seed`.

    Raises
    ------
    ConfigError
        As `load_data`, or there are too few samples to split.
    """
    given: dict[Role, str | None] = {"training": data, "calibration": calib, "test": test}
    if data.partition(":")[0] == "digits":
        sets = {role: load_data(spec or data, role, seed) for role, spec in given.items()}
        return Roles(**sets, notes=())
    whole = load_data(data, "training", seed)
    open_roles: list[Role] = [
        role for role, spec in given.items() if role == "training" or not spec
    ]
    parts = _split(whole, open_roles, seed)
    sets = {
        role: parts[role] if role in parts else load_data(cast(str, spec), role, seed)
        for role, spec in given.items()
    }
    return Roles(**sets, notes=_split_notes(data, parts))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image as uint8, (H, W) if it is grey and (H, W, 3) otherwise.

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
        raise ConfigError(f"cannot read the image {path}: {error}; remove or replace it") from error


def _split(data: Dataset, roles: list[Role], seed: int) -> dict[Role, Dataset]:
    if len(roles) == 1:
        return {roles[0]: data}
    if len(data) < 2 * len(roles):
        raise ConfigError(
            f"{data.source} has {len(data)} samples, too few to be split into "
            f"{' and '.join(roles)}; give --calib and --test"
        )
    order = np.random.default_rng(seed).permutation(len(data))
    shares = np.array([SPLIT[role] for role in roles])
    stops = np.round(np.cumsum(shares / shares.sum()) * len(data)).astype(int)[:-1]
    return {
        role: data.rows(np.sort(part))
        for role, part in zip(roles, np.split(order, stops), strict=True)
    }


def _split_notes(source: str, parts: dict[Role, Dataset]) -> tuple[str, ...]:
    if len(parts) == 1:
        return ()
    sizes = ", ".join(f"{len(part)} {role}" for role, part in parts.items())
    return (
        f"{source} was split by seed: {sizes} samples",
        "a pretrained network may have seen these samples in its own training: accuracies then "
        "look better than they are (give --calib and --test)",
    )


def _range(spec: str) -> tuple[str, slice | None]:
    found = re.fullmatch(r"(.+)\[(\d*):(\d*)\]", spec)
    if not found:
        return spec, None
    start, stop = (int(text) if text else None for text in found.group(2, 3))
    return found[1], slice(start, stop)


def _folder(path: Path) -> Dataset:
    classes = sorted(p for p in path.iterdir() if p.is_dir())
    if not classes:
        return Dataset(_images(path), None, (), str(path))
    found = [_images(folder) for folder in classes]
    labels = np.repeat(np.arange(len(classes)), [len(images) for images in found])
    names = tuple(folder.name for folder in classes)
    return Dataset(
        [image for images in found for image in images], labels[:, None], names, str(path)
    )


def _images(folder: Path) -> list[Path]:
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise ConfigError(
            f"the folder {folder} holds no images; known are {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return images


def _npz(path: Path) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "x" not in arrays:
                found = ", ".join(arrays.files) or "nothing"
                raise ConfigError(f"{path} must hold an array 'x' (and labels 'y'), found {found}")
            x, y = arrays["x"], arrays["y"] if "y" in arrays else None
            names = tuple(str(n) for n in arrays["classes"]) if "classes" in arrays else ()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not a readable .npz file: {error}") from error
    if x.dtype.kind not in "uif" or x.ndim < 2:
        raise ConfigError(f"{path}: x must be numbers of shape (N, ...), found {x.dtype} {x.shape}")
    return Dataset(list(x), None if y is None else _labels(path, y, len(x)), names, str(path))


def _labels(path: Path, y: NDArray[Any], count: int) -> NDArray[np.int64]:
    if y.dtype.kind not in "ui" or y.ndim not in (1, 2):
        raise ConfigError(
            f"{path}: y must be whole numbers of shape (N,) or (N, P), found {y.dtype} {y.shape}"
        )
    if len(y) != count:
        raise ConfigError(f"{path}: x has {count} samples, but y has {len(y)} labels")
    if y.size and y.min() < 0:
        raise ConfigError(f"{path}: y holds the label {y.min()}; labels start at 0")
    return y.astype(np.int64).reshape(count, -1)


@dataclass(frozen=True, slots=True)
class _Digits:
    """What follows ``digits:``. The split has a seed of its own, so that it never moves."""

    pages: int | None = None
    seed: int = 0


def _digits_options(spec: str, options: str) -> _Digits:
    values: dict[str, int] = {}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key not in ("pages", "seed") or not value.isdecimal() or (key, value) == ("pages", "0"):
            raise ConfigError(f"{spec}: {option!r} is not understood; known: pages=N, seed=N")
        values[key] = int(value)
    return _Digits(**values)


def _digits(options: _Digits, role: Role, seed: int) -> Dataset:
    from sklearn.datasets import load_digits

    scans = load_digits()
    order = np.random.default_rng(options.seed).permutation(len(scans.target))
    stops = np.round(np.cumsum(list(SPLIT.values())) * len(order)).astype(int)[:-1]
    own = dict(zip(SPLIT, np.split(order, stops), strict=True))[role]

    count = PAGES[role]
    if options.pages is not None:
        count = max(1, round(options.pages * PAGES[role] / PAGES["training"]))
    # Each role draws from its own stream, or equal seeds would give equal layouts.
    rng = np.random.default_rng([seed, list(SPLIT).index(role)])
    drawn = rng.choice(own, size=(count, PAGE_SIDE * PAGE_SIDE))
    grey = np.round(scans.images * (255 / _DIGIT_WHITE)).astype(np.uint8)
    cells = grey[drawn].reshape(count, PAGE_SIDE, PAGE_SIDE, 8, 8)
    pages = cells.transpose(0, 1, 3, 2, 4).reshape(count, 8 * PAGE_SIDE, 8 * PAGE_SIDE)
    names = tuple(str(n) for n in scans.target_names)
    return Dataset(list(pages), scans.target[drawn].astype(np.int64), names, f"digits ({role})")
