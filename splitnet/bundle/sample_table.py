"""The sample table: what every exit and every path answered on every test sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle.npz import read_npz, write_npz
from splitnet.errors import BundleError, UnknownNameError
from splitnet.values import ExitStep, Plan, plan_key

Mask = NDArray[np.bool_]


class ExitRows(NamedTuple):
    """Rows of an exit: score and confidence, float32 ``(S,)`` in [0, 1]."""

    score: NDArray[np.float32]
    confidence: NDArray[np.float32]


class PathRows(NamedTuple):
    """Rows of a path at a level: as those of an exit, and payload bytes, int32 ``(S,)``."""

    score: NDArray[np.float32]
    confidence: NDArray[np.float32]
    bytes: NDArray[np.int32]


class PlanStatistics(NamedTuple):
    """What a plan does on average: score, payload bytes, share of rows that leave at an exit.

    A row that leaves at an exit sends nothing and counts with 0 bytes. `replies` is how often the
    cloud answers one that goes on: more than once where refinements wait for answers.
    """

    accuracy: float
    bytes: float
    exit_share: float
    replies: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class SampleTable:
    """Scores, confidences and payload sizes, one row for each answer of the test data.

    Averages may be restricted to some rows by a mask, ``rows``: bool ``(S,)``. A mask that selects
    no row stands for all rows, because nothing is known of such samples.

    Attributes
    ----------
    keys
        int64 ``(S, 2)``: sample and position inside it; no row stands there twice.
    exits
        Rows by exit id.
    paths
        Rows by path id and level.
    parts
        For levels whose payload has refinements: the rows of the answers to its first part, to its
        first two, and so on, without that to all of them, which `paths` holds. Bytes are those of
        all parts that are used.
    """

    keys: NDArray[np.int64]
    exits: Mapping[str, ExitRows]
    paths: Mapping[tuple[str, int], PathRows]
    parts: Mapping[tuple[str, int], tuple[PathRows, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_keys(self.keys)
        for exit_id, exit_rows in self.exits.items():
            _check_rows(exit_rows, len(self), f"exit/{exit_id}")
        for (path, level), path_rows in self.paths.items():
            _check_rows(path_rows, len(self), f"path/{plan_key(path, level)}")
        for (path, level), parts in self.parts.items():
            if (path, level) not in self.paths:
                raise _error(f"there are parts, but no rows, of {plan_key(path, level)!r}")
            for number, path_rows in enumerate(parts, 1):
                _check_rows(path_rows, len(self), f"part/{_part_key(path, level, number)}")
            sizes = [found.bytes for found in (*parts, self.paths[path, level])]
            if any((more < fewer).any() for fewer, more in pairwise(sizes)):
                raise _error(f"more parts of {plan_key(path, level)!r} have fewer bytes")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.keys)

    def mean_score(self, path: str, level: int, rows: Mask | None = None) -> float:
        """Return the accuracy of `path` at `level`."""
        return _mean(self._path(path, level).score, rows)

    def mean_bytes(self, path: str, level: int, rows: Mask | None = None) -> float:
        """Return the mean payload of `path` at `level` in bytes."""
        return _mean(self._path(path, level).bytes, rows)

    def mean_exit_score(self, exit_id: str, rows: Mask | None = None) -> float:
        """Return the accuracy of an exit, whatever its confidence."""
        return _mean(self._exit(exit_id).score, rows)

    def exit_passed(self, exit_id: str, threshold: float) -> Mask:
        """Return which rows leave at an exit: those whose confidence reaches `threshold`."""
        return self._exit(exit_id).confidence >= np.float32(threshold)

    def exit_share(self, exit_id: str, threshold: float, rows: Mask | None = None) -> float:
        """Return the share of rows that leave at an exit."""
        return _mean(self.exit_passed(exit_id, threshold), rows)

    def leaves_at(self, rule: tuple[ExitStep, ...]) -> NDArray[np.intp]:
        """Return for each row the index of the step of `rule` at which it leaves, -1 for none."""
        step_of_row = np.full(len(self), -1, np.intp)
        for index, step in reversed(list(enumerate(rule))):
            step_of_row[self.exit_passed(step.exit, step.threshold)] = index
        return step_of_row

    def replies(self, plan: Plan) -> NDArray[np.intp]:
        """Return for each row how many answers of the cloud it takes until `plan` stops."""
        found = np.ones(len(self), np.intp)
        waits = np.ones(len(self), np.bool_)
        for part, threshold in zip(self._parts(plan), plan.stops, strict=True):
            waits &= part.confidence < np.float32(threshold)
            found += waits
        return found

    def answers(self, plan: Plan) -> PathRows:
        """Return the rows of the answers that `plan` takes from the cloud, whatever exits say."""
        whole = self._path(plan.path, plan.level)
        if not plan.stops:
            return whole
        stages = [*self._parts(plan), whole]
        place = self.replies(plan) - 1, np.arange(len(self))
        return PathRows(*(np.stack(columns)[place] for columns in zip(*stages, strict=True)))

    def plan_statistics(self, plan: Plan, rows: Mask | None = None) -> PlanStatistics:
        """Return what `plan` does: each row counts where it leaves, at an exit or at the path."""
        path = self.answers(plan)
        step_of_row = self.leaves_at(plan.exits)
        score = path.score.copy()
        for index, step in enumerate(plan.exits):
            leaves = step_of_row == index
            score[leaves] = self._exit(step.exit).score[leaves]
        goes_on = step_of_row < 0
        sent_share = _mean(goes_on, rows)
        replies = _mean(self.replies(plan) * goes_on, rows)
        return PlanStatistics(
            accuracy=_mean(score, rows),
            bytes=_mean(path.bytes * goes_on, rows),
            exit_share=1.0 - sent_share,
            replies=replies / sent_share if sent_share else 1.0,
        )

    def to_bytes(self) -> bytes:
        """Return the content of ``sample_table.npz`` (docs/bundle.md, "Sample table")."""
        arrays: dict[str, NDArray[Any]] = {"keys": self.keys}
        for exit_id, exit_rows in self.exits.items():
            for column, values in exit_rows._asdict().items():
                arrays[f"exit/{exit_id}/{column}"] = values
        for (path, level), path_rows in self.paths.items():
            for column, values in path_rows._asdict().items():
                arrays[f"path/{plan_key(path, level)}/{column}"] = values
        for (path, level), parts in self.parts.items():
            for number, path_rows in enumerate(parts, 1):
                for column, values in path_rows._asdict().items():
                    arrays[f"part/{_part_key(path, level, number)}/{column}"] = values
        return write_npz(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> SampleTable:
        """Return the table in the content of ``sample_table.npz``.

        Raises
        ------
        BundleError
            The bytes are no such table: damaged, of a wrong dtype or length, or out of range.
        """
        arrays = read_npz(data, "sample_table.npz")
        if "keys" not in arrays:
            raise _error("the array 'keys' is missing")
        keys = arrays.pop("keys")
        groups: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}
        for name, array in arrays.items():
            kind, _, rest = name.partition("/")
            owner, _, column = rest.rpartition("/")
            groups.setdefault((kind, owner), {})[column] = array
        exits: dict[str, ExitRows] = {}
        paths: dict[tuple[str, int], PathRows] = {}
        parts: dict[tuple[str, int], dict[int, PathRows]] = {}
        for (kind, owner), columns in groups.items():
            if kind == "exit" and columns.keys() == set(ExitRows._fields):
                exits[owner] = ExitRows(**columns)
            elif kind == "path" and columns.keys() == set(PathRows._fields):
                paths[_path_and_level(owner)] = PathRows(**columns)
            elif kind == "part" and columns.keys() == set(PathRows._fields):
                key, _, number = owner.rpartition(":")
                if not _is_number(number):
                    raise _error(f"{owner!r} is not a path, a level and a number of parts")
                parts.setdefault(_path_and_level(key), {})[int(number)] = PathRows(**columns)
            else:
                raise _error(f"{kind}/{owner} has the columns {', '.join(sorted(columns))}")
        return cls(keys, exits, paths, {key: _in_order(key, of) for key, of in parts.items()})

    def _path(self, path: str, level: int) -> PathRows:
        try:
            return self.paths[path, level]
        except KeyError:
            known = ", ".join(plan_key(*key) for key in self.paths)
            key = plan_key(path, level)
            raise UnknownNameError(f"the sample table has no {key!r}; known: {known}") from None

    def _parts(self, plan: Plan) -> tuple[PathRows, ...]:
        """Return the rows of the parts that the stops of `plan` speak of."""
        found = self.parts.get((plan.path, plan.level), ()) if plan.stops else ()
        if len(found) != len(plan.stops):
            raise UnknownNameError(
                f"the sample table has {len(found)} parts of {plan_key(plan.path, plan.level)!r} "
                f"besides the whole, the plan has {len(plan.stops)} stops"
            )
        return found

    def _exit(self, exit_id: str) -> ExitRows:
        try:
            return self.exits[exit_id]
        except KeyError:
            known = ", ".join(self.exits)
            raise UnknownNameError(
                f"the sample table has no exit {exit_id!r}; known: {known}"
            ) from None


def _mean(values: NDArray[Any], rows: Mask | None) -> float:
    if rows is not None and rows.any():
        values = values[rows]
    return float(values.mean(dtype=np.float64))


def _path_and_level(owner: str) -> tuple[str, int]:
    path, _, level = owner.rpartition("@")
    if not path or not _is_number(level):
        raise _error(f"{owner!r} is not a path and a level")
    return path, int(level)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= 3 and str(int(text)) == text


def _part_key(path: str, level: int, number: int) -> str:
    return f"{plan_key(path, level)}:{number}"


def _in_order(key: tuple[str, int], parts: Mapping[int, PathRows]) -> tuple[PathRows, ...]:
    numbers = range(1, len(parts) + 1)
    if set(parts) != set(numbers):
        raise _error(f"the parts of {plan_key(*key)!r} are {sorted(parts)}, must count from 1")
    return tuple(parts[number] for number in numbers)


def _check_keys(keys: NDArray[np.int64]) -> None:
    if keys.dtype != np.int64 or keys.ndim != 2 or keys.shape[1] != 2 or not len(keys):
        raise _error(f"keys are {keys.dtype} {keys.shape}, must be int64 (rows, 2), not empty")
    if keys.min() < 0 or len(np.unique(keys, axis=0)) != len(keys):
        raise _error("a key is negative or stands there twice")


def _check_rows(rows: ExitRows | PathRows, count: int, where: str) -> None:
    for column, values in rows._asdict().items():
        dtype = np.int32 if column == "bytes" else np.float32
        if values.dtype != dtype or values.shape != (count,):
            raise _error(
                f"{where}/{column} is {values.dtype} {values.shape}, "
                f"must be {np.dtype(dtype)} ({count},)"
            )
        top = np.iinfo(np.int32).max if column == "bytes" else 1
        if not np.all((values >= 0) & (values <= top)):
            raise _error(f"{where}/{column} has values outside 0 to {top}")


def _error(message: str) -> BundleError:
    return BundleError(f"sample_table.npz: {message}; build the bundle again")
