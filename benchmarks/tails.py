r"""One encoder, several networks: each behind the frozen encoder of ResNet-56, and with its own.

    DEPTH=20 splitnet train examples/cifar10/tail.toml --out out/cifar10/tail-20
    DEPTH=20 splitnet train examples/cifar10/own.toml --out out/cifar10/own-20
    python benchmarks/tails.py out/cifar10/tail-20 out/cifar10/own-20 --json out/tails.json

Pairs of results, first the frozen encoder's, then the own one's. Their levels differ in bytes, so
the own encoder's score is interpolated, image by image and linearly in the logarithm of the bytes,
between its two levels around those of the frozen one (outside of their range: on the line through
the two at the end). Differences stand beside their paired 95 % intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paired import paired_change
from results import parser, report, run

from splitnet.training.results import ROWS, Folder

Array = NDArray[Any]

TARGET_POINTS = 0.7
"""What a network behind the frozen encoder may lose at any level."""


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The levels of one rate each, from the fewest bytes to the most.

    Attributes
    ----------
    score
        ``(L, S)``, of each test image.
    nbytes
        Mean payload ``(L,)``.
    """

    names: tuple[str, ...]
    score: Array
    nbytes: Array

    def at(self, nbytes: float) -> Array:
        """Return the score of each image at so many bytes, ``(S,)``."""
        sizes = np.log(self.nbytes)
        low = int(np.clip(np.searchsorted(sizes, np.log(nbytes)) - 1, 0, len(sizes) - 2))
        share = (np.log(nbytes) - sizes[low]) / (sizes[low + 1] - sizes[low])
        mixed: Array = (1 - share) * self.score[low] + share * self.score[low + 1]
        return mixed


def main() -> int:
    """Compare all pairs; the exit code says whether the target was met."""
    options = parser(
        "Networks behind one frozen encoder, beside those with an encoder of their own."
    )
    options.add_argument("results", type=Path, nargs="+", help="folders: frozen, own, frozen, own")
    chosen = options.parse_args()
    if len(chosen.results) % 2:
        raise SystemExit("error: give pairs of results: behind the frozen encoder, with an own one")
    pairs = zip(chosen.results[::2], chosen.results[1::2], strict=True)
    figures = [compare(frozen, own) for frozen, own in pairs]
    worst = min(row["difference"] for pair in figures for row in pair["levels"])
    met = worst >= -TARGET_POINTS
    report(
        "tails",
        {"target_points": -TARGET_POINTS, "worst": worst, "met": met, "pairs": figures},
        chosen.json,
    )
    return 0 if met else 1


def compare(frozen: Path, own: Path) -> dict[str, Any]:
    """Return the differences at each level of the frozen encoder."""
    made = [Folder(folder).results() for folder in (frozen, own)]
    if made[0].network != made[1].network or made[0].settings["test"] != made[1].settings["test"]:
        raise SystemExit(f"error: {frozen} and {own} are of other networks or other test data")
    one, other = read_levels(frozen), read_levels(own)
    rows = []
    for name, score, nbytes in zip(one.names, one.score, one.nbytes, strict=True):
        beside = other.at(float(nbytes))
        change = paired_change(score, beside)
        rows.append(
            {
                "level": name,
                "bytes": float(nbytes),
                "accuracy": 100 * float(score.mean()),
                "own": 100 * float(beside.mean()),
                "difference": change.points,
                "interval": change.interval,
                "extrapolated": not other.nbytes[0] <= nbytes <= other.nbytes[-1],
            }
        )
    return {
        "frozen": frozen.name,
        "own": own.name,
        "teacher": 100 * float(made[0].teacher[1] or 0),
        "levels": rows,
    }


def read_levels(folder: Path) -> Levels:
    """Return the levels of results; one of several parts is left out.

    Raises
    ------
    SystemExit
        There are fewer than two.
    """
    results = Folder(folder).results()
    with np.load(folder / ROWS) as rows:
        score, nbytes = rows["score"].astype(float), rows["nbytes"].mean(axis=1)
    kept = [i for i, level in enumerate(results.levels) if level.codec["id"] != "embedded"]
    if len(kept) < 2:
        raise SystemExit(f"error: {folder} has fewer than two levels to compare")
    order = sorted(kept, key=lambda i: float(nbytes[i]))
    return Levels(tuple(results.levels[i].name for i in order), score[order], nbytes[order])


if __name__ == "__main__":
    run(main)
