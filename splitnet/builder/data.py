"""Data for training, calibration and test: image folders, npz files and pages of scanned digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from splitnet.runtime.inputs import Sample
from splitnet.runtime.samples import Samples, digests_of, read_folder, read_npz, split_range

Role: TypeAlias = Literal["training", "calibration", "test"]

SPLIT: dict[Role, float] = {"training": 0.6, "calibration": 0.2, "test": 0.2}
"""Shares of data that comes without a split of its own."""

PAGES: dict[Role, int] = {"training": 2000, "calibration": 400, "test": 600}
"""Pages of digits drawn for each role unless ``digits:pages=N`` asks for N training pages."""

MAX_PAGES = 100_000
"""Pages are kept in memory, 4 KB each."""

PAGE_SIDE = 8
"""Digits in a row and in a column of a page."""

DIGIT_SIDE = 8
"""Pixels in a row and in a column of a digit."""

_DIGIT_WHITE = 16
"""Brightest value in scikit-learn's scanned digits."""


@dataclass(frozen=True)
class Dataset:
    """Samples of one role, with their labels if there are any.

    Attributes
    ----------
    samples
        Arrays, or paths of images that are read on demand, and labels.
    source
        Where they came from, for people.
    numbers
        Numbers of the samples there; ``None`` if they are all of them in their order.
    """

    samples: Samples
    source: str
    numbers: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def y(self) -> NDArray[np.int64] | None:
        """Labels (N, P), ``None`` if there are none."""
        return self.samples.y

    @cached_property
    def digests(self) -> list[bytes]:
        """A digest of each sample, read once: it tells where else the sample stands."""
        return digests_of(self.samples)

    def load(self, index: int) -> NDArray[Any]:
        """Return the first input of sample `index` (raises `ConfigError` for a broken image)."""
        return self.samples.load(index)

    def sample(self, index: int) -> Sample:
        """Return sample `index` with all its inputs (raises `ConfigError` for a broken image)."""
        return self.samples.sample(index)

    def name(self, index: int) -> str:
        """Return what to call sample `index` in a message."""
        item = self.samples.x[index]
        if isinstance(item, Path):
            return str(item)
        number = index if self.numbers is None else int(self.numbers[index])
        return f"sample {number} of {self.source}"

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> Dataset:
        """Return the samples of `indices` in that order."""
        chosen = np.asarray(indices, np.int64)
        numbers = chosen if self.numbers is None else self.numbers[chosen]
        return Dataset(self.samples.pick(chosen), self.source, numbers)


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
        ``digits:pages=500,seed=1``. A file may hold several inputs of a model (see `read_npz`).
        Files and folders joined by ``+`` are one source.
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
    if "+" in spec and not Path(split_range(spec)[0]).exists():
        return _join(spec, [load_data(part, role, seed) for part in spec.split("+")])
    place, rows = split_range(spec)
    path = Path(place)
    if path.is_dir():
        samples = read_folder(path)
    elif not path.exists():
        raise ConfigError(f"there is no data at {place}; give a folder, an .npz file or 'digits'")
    elif path.suffix == ".npz":
        samples = read_npz(path)
    else:
        raise ConfigError(f"{place} is neither a folder nor an .npz file; data is one of the two")
    if not len(samples.part(rows)):
        raise ConfigError(f"{spec} holds no samples, {place} has {len(samples)}")
    return Dataset(samples.part(rows), spec)


def _join(spec: str, parts: Sequence[Dataset]) -> Dataset:
    """Return the samples of several sources behind each other."""
    found = [part.samples for part in parts]
    first = found[0]
    for part, other in zip(parts, found, strict=True):
        same = other.classes == first.classes and other.more.keys() == first.more.keys()
        if not same or (other.y is None) != (first.y is None):
            raise ConfigError(
                f"{part.source} and {parts[0].source} cannot be joined: their classes, labels or "
                "inputs differ"
            )
    labels = [other.y for other in found if other.y is not None]
    more = {name: np.concatenate([other.more[name] for other in found]) for name in first.more}
    y = np.concatenate(labels) if labels else None
    x = [item for other in found for item in other.x]
    return Dataset(replace(first, x=x, y=y, more=more), spec)


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
    _check_distinct(given)
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


def _check_distinct(given: dict[Role, str | None]) -> None:
    for role, spec in given.items():
        for other, same in given.items():
            if role != other and spec is not None and spec == same:
                raise ConfigError(
                    f"{spec} is given for {role} and for {other}; roles never share samples "
                    "(ranges such as [:1000] and [1000:] part one source)"
                )


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


@dataclass(frozen=True, slots=True)
class _Digits:
    """What follows ``digits:``. The split has a seed of its own, so that it never moves."""

    pages: int | None = None
    seed: int = 0


def _digits_options(spec: str, options: str) -> _Digits:
    values: dict[str, int] = {}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key not in ("pages", "seed") or not value.isdecimal():
            raise ConfigError(f"{spec}: {option!r} is not understood; known: pages=N, seed=N")
        values[key] = int(value)
    if not 1 <= values.get("pages", 1) <= MAX_PAGES:
        raise ConfigError(f"{spec}: pages is {values['pages']}, must be from 1 to {MAX_PAGES}")
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
    cells = grey[drawn].reshape(count, PAGE_SIDE, PAGE_SIDE, DIGIT_SIDE, DIGIT_SIDE)
    side = PAGE_SIDE * DIGIT_SIDE
    pages = cells.transpose(0, 1, 3, 2, 4).reshape(count, side, side)
    classes = tuple(str(n) for n in scans.target_names)
    labels = scans.target[drawn].astype(np.int64)
    return Dataset(Samples(list(pages), labels, classes), f"digits ({role})")
