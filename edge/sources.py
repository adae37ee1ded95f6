"""Where frames come from: ``.npz`` files and images, or whatever a plug-in offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from splitnet import registry
from splitnet.errors import ConfigError
from splitnet.runtime.inputs import Sample
from splitnet.runtime.samples import (
    IMAGE_SUFFIXES,
    Samples,
    read_folder,
    read_npz,
    split_range,
)

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """One sample to be answered.

    Attributes
    ----------
    name
        What people know it by: the file, or its row.
    load
        Reads the sample: an array, or a mapping with one for each input of the network by its
        name. Called on the executor's thread.
    truth
        The right labels ``(P,)``, if the source knows them.
    """

    name: str
    load: Callable[[], Sample]
    truth: NDArray[np.int64] | None = None


class Source(ABC):
    """A place that frames come from, made from the text behind ``--source``."""

    id: ClassVar[str]

    def __init__(self, spec: str) -> None:
        self.spec = spec

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Yield all frames, from the beginning with every call.

        Raises
        ------
        ConfigError
            The source cannot be read.
        """

    def labels(self) -> NDArray[np.int64] | None:
        """Return the labels of all frames ``(N, P)`` if they are known beforehand."""
        return None


class _SampleSource(Source):
    """A source with a known number of samples."""

    _samples: Samples | None = None

    def labels(self) -> NDArray[np.int64] | None:
        """Return the labels of all samples, ``None`` if they have none."""
        return self._load().y

    def frames(self) -> Iterator[Frame]:
        """Yield the samples in their order."""
        place, rows = split_range(self.spec)
        samples = self._load()
        for index in range(len(samples)):
            item = samples.x[index]
            name = str(item) if isinstance(item, Path) else f"{place}[{index + (rows.start or 0)}]"
            truth = None if samples.y is None else samples.y[index]
            yield Frame(name, partial(samples.sample, index), truth)

    def _load(self) -> Samples:
        if self._samples is None:
            place, rows = split_range(self.spec)
            self._samples = self._read(Path(place)).part(rows)
        if not len(self._samples):
            raise ConfigError(f"{self.spec} holds no samples")
        return self._samples

    @abstractmethod
    def _read(self, path: Path) -> Samples: ...


class NpzSource(_SampleSource):
    """The rows of an ``.npz`` file: ``x`` or an array an input, with labels if there is a ``y``."""

    id = "npz"

    def _read(self, path: Path) -> Samples:
        return read_npz(path)


class ImageSource(_SampleSource):
    """One image, or the images of a folder (its sub-folders are classes)."""

    id = "images"

    def _read(self, path: Path) -> Samples:
        if path.is_dir():
            return read_folder(path)
        if not path.exists():
            raise ConfigError(f"there is no image {path}")
        return Samples([path])


def open_source(spec: str) -> Source:
    """Return the source that `spec` names.

    Parameters
    ----------
    spec
        An ``.npz`` file, a folder of images, an image (all with a range such as ``[:100]`` behind
        them if wanted), or ``kind:text`` for a registered kind.

    Raises
    ------
    ConfigError
        Nothing of this name, or of no known kind.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind in registry.names("sources"):
        return _make(kind, rest)
    path = Path(split_range(spec)[0])
    if path.suffix == ".npz":
        return _make("npz", spec)
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return _make("images", spec)
    missing = "" if path.exists() else f"there is no {path}; "
    raise ConfigError(
        f"--source {spec!r}: {missing}a source is an .npz file, a folder of images, an image, or "
        f"KIND:TEXT with one of the kinds {', '.join(registry.names('sources'))}"
    )


def readable_sample(source: Source) -> Callable[[], Sample]:
    """Return how to read the first sample of `source` that can be read at all.

    Raises
    ------
    ConfigError
        There is none; the message is that of the first.
    """
    first: ConfigError | None = None
    for frame in source.frames():
        try:
            frame.load()
        except ConfigError as error:
            first = first or error
        else:
            return frame.load
    raise first or ConfigError(f"--source {source.spec} holds no samples")


def _make(kind: str, spec: str) -> Source:
    return cast("type[Source]", registry.load("sources", kind))(spec)
