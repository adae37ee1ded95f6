"""What learned paths answered on each test image: a bundle, results of a training, or an .npz.

The .npz holds ``score`` and ``nbytes`` ``(L, S)``, one row a level, as results do, and may hold
``rows`` int64 ``(S,)``: which test images these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from rate_curves import Curve, Point, Rows
from rate_stops import Stage, stops_curve

from splitnet.bundle import Bundle, PathRows
from splitnet.runtime.directory import open_bundle
from splitnet.training.results import RESULTS, ROWS


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A learned path, and the test images on which it was asked.

    Attributes
    ----------
    rows
        int64 ``(S,)``, which of the benchmark's test images the samples of the curve are.
    """

    curve: Curve
    rows: Rows


def read_learned(text: str, count: int) -> list[Learned]:
    """Return the learned paths of ``[name=]place[@first]``.

    Parameters
    ----------
    text
        `place` is a bundle, results of `splitnet train`, or an .npz; `first` is the row of the test
        images with which its test data began (``@2400`` for ``cifar10_test.npz[2400:]``).
    count
        Number of test images of the benchmark; samples behind them are left out.
    """
    name, _, rest = text.rpartition("=")
    place, _, first = rest.partition("@")
    path = Path(place)
    own = name or path.stem
    if first and not first.isdecimal():
        raise SystemExit(f"error: {text}: {first!r} is no row of the test images")
    if (path / RESULTS).exists():
        found = [_from_arrays(path / ROWS, own)]
    else:
        found = (
            bundle_curves(open_bundle(path), own) if path.is_dir() else [_from_arrays(path, own)]
        )
    return [_within(learned, int(first or 0), count) for learned in found]


def bundle_curves(bundle: Bundle, name: str) -> list[Learned]:
    """Return the learned paths of a bundle, from its sample table.

    A level with parts is one more curve: the next part is sent where the answer is not sure enough.
    """
    table = bundle.table
    kinds = {path.id: path for path in bundle.contract.paths}
    found = []
    for path_id, path in kinds.items():
        if path.kind != "learned":
            continue
        points = [
            Point(level.name, rows.score > 0.5, rows.bytes.astype(np.int64))
            for number, level in enumerate(path.levels)
            if (rows := table.paths.get((path_id, number))) is not None
        ]
        found.append(Learned(Curve(f"{name} {path_id}", tuple(points)), table.keys[:, 0]))
        for number in range(len(path.levels)):
            parts = table.parts.get((path_id, number), ())
            if parts:
                stages = [_stage(each) for each in (*parts, table.paths[path_id, number])]
                curve = stops_curve(f"{name} {path_id}, stops", stages)
                found.append(Learned(curve, table.keys[:, 0]))
    if not found:
        raise SystemExit(f"{name} has no learned path, only {', '.join(kinds)}")
    return found


def _stage(rows: PathRows) -> Stage:
    return Stage(rows.score > 0.5, rows.confidence, rows.bytes.astype(np.int64))


def _from_arrays(file: Path, name: str) -> Learned:
    with _arrays(file) as arrays:
        if missing := {"score", "nbytes"} - set(arrays.files):
            raise SystemExit(f"{file} has no {' and no '.join(sorted(missing))}")
        score, nbytes = arrays["score"], arrays["nbytes"].astype(np.int64)
        right = score > 0.5
        if not np.array_equal(right, score):
            raise SystemExit(f"{file}: scores between 0 and 1; an answer is right or wrong here")
        rows = arrays["rows"] if "rows" in arrays else np.arange(right.shape[1])
    if right.shape != nbytes.shape or rows.shape != right.shape[1:]:
        raise SystemExit(f"{file}: score {right.shape}, nbytes {nbytes.shape}, rows {rows.shape}")
    points = [Point(f"level {i}", right[i], nbytes[i]) for i in range(len(right))]
    return Learned(Curve(name, tuple(points)), rows.astype(np.int64))


def _arrays(file: Path) -> NpzFile:
    try:
        found = np.load(file, allow_pickle=False)
    except ValueError:
        found = None
    if not isinstance(found, NpzFile):
        raise SystemExit(f"error: {file} is no .npz file")
    return found


def _within(learned: Learned, first: int, count: int) -> Learned:
    rows = learned.rows + first
    inside = np.flatnonzero(rows < count)
    if first and len(inside) < len(rows):
        raise SystemExit(
            f"{learned.curve.name}: with @{first} its samples end at {rows.max() + 1} of {count} "
            f"test images; give the row with which its test data began"
        )
    if not inside.size:
        raise SystemExit(f"{learned.curve.name} has no sample among the first {count} test images")
    return Learned(learned.curve.at(inside), rows[inside])
