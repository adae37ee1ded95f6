"""Finished steps of a build, kept beside what is being written, so that a rerun continues.

A step is kept with the files that it made, under a key of everything that it depends on. What is
damaged or of another build is done again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from splitnet.bundle import GraphRef
from splitnet.bundle.json_form import Reader, canonical, to_json
from splitnet.errors import BundleError
from splitnet.runtime.directory import verify_graph

T = TypeVar("T")

STEPS = "steps"
"""Folder of the steps in the directory that is being written."""

_VERSION = 1


class Steps:
    """The finished steps of one build.

    Parameters
    ----------
    folder
        The directory that is being written.
    depends
        Everything that the steps depend on, as JSON; steps of anything else are deleted.
    """

    def __init__(self, folder: Path, depends: object) -> None:
        self._folder = folder
        self._kept = folder / STEPS
        key = hashlib.sha256(canonical(depends)).hexdigest()
        mark = self._kept / "key"
        if self._kept.exists() and not (mark.is_file() and mark.read_text() == key):
            shutil.rmtree(self._kept)
        self._kept.mkdir(exist_ok=True)
        mark.write_text(key)

    def save(self, name: str, result: object, graphs: Iterable[GraphRef]) -> None:
        """Keep the result of a step, a dataclass, and the files of its graphs."""
        for graph in graphs:
            for file in graph.files:
                _copy(self._folder / file, self._kept / file)
        partial = self._kept / f"{name}.new"
        partial.write_text(json.dumps({"version": _VERSION, **to_json(result)}))
        partial.replace(self._kept / f"{name}.json")

    def load(self, name: str, cls: type[T]) -> T | None:
        """Return the result of a step, if it is kept (see `restore` for its files)."""
        file = self._kept / f"{name}.json"
        try:
            data = json.loads(file.read_bytes())
            return Reader(file.name, _VERSION, refuse_unknown=True).read(cls, data)
        except (OSError, ValueError, BundleError):
            return None

    def restore(self, graphs: Iterable[GraphRef]) -> bool:
        """Bring the files of some graphs back; whether all of them are there and sound."""
        graphs = tuple(graphs)
        try:
            for graph in graphs:
                verify_graph(self._kept, graph, set())
        except (BundleError, OSError):
            return False
        for graph in graphs:
            for file in graph.files:
                _copy(self._kept / file, self._folder / file)
        return True


def begin_again(folder: Path) -> None:
    """Empty a directory that a build left behind, but for its finished steps."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name == STEPS:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def has_steps(folder: Path) -> bool:
    """Return whether a directory holds a finished step."""
    return any((folder / STEPS).glob("*.json"))


def forget_steps(folder: Path) -> None:
    """Delete the finished steps before the directory is published."""
    shutil.rmtree(folder / STEPS, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
