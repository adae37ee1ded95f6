r"""Certified stops of a learned path: bytes, what they lose, and whether the promise holds.

The bundle's test data are all test images of CIFAR-10. Thresholds of the level with parts are
certified on the first 2,400 of them, bytes and accuracy are those of the other 2,400. Then the
images are split at random 100 times: each time one half certifies and the other tells whether the
promise was kept. The promise is about the answer to all parts; what this loses itself against the
whole network stands beside it.

    SPLITNET_DATA=... python benchmarks/stops.py out/cifar10/bundle --json out/stops.json

Takes less than a minute; the answers are those of the bundle's sample table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paired import Change, paired_change
from results import parser, report, run, shared_data
from splits import HALF, SPLITS, on_splits

from splitnet.builder.data import load_data
from splitnet.builder.execution import Execution
from splitnet.builder.stops import saved_bytes, stop_scores
from splitnet.bundle import SampleTable
from splitnet.runtime.directory import open_bundle
from splitnet.training.certify import ExitScores, Promise, certify, threshold_path
from splitnet.values import plan_key

Array = NDArray[Any]

RISKS = (0.005, 0.01)
CONFIDENCE = 0.95
EXACT = ("input", 0)
"""The image itself, answered by the whole network."""


def main() -> int:
    """Certify and report."""
    options = parser("What certified stops send, and whether they keep their promise.")
    options.add_argument("bundle", type=Path, help="its test data: all test images of CIFAR-10")
    options.add_argument("--splits", type=int, default=SPLITS, help="random splits (100)")
    chosen = options.parse_args()
    bundle = open_bundle(chosen.bundle)
    table = bundle.table
    if len(table) < 2 * HALF or not table.parts:
        raise SystemExit(
            f"{chosen.bundle} has {len(table)} test samples and {len(table.parts)} levels with "
            f"parts; build it with --test cifar10_test.npz and a path with the key `embedded`"
        )
    training = load_data(str(shared_data() / "cifar10" / "cifar10_train_0.npz"), "training")
    keys = tuple(table.parts)
    saved = saved_bytes(Execution(chosen.bundle, bundle.contract), keys, training)
    rows = []
    for key in keys:
        path, costs = threshold_path(saved[key]), part_bytes(table, key)
        for risk in RISKS:
            rows.append(
                {
                    "level": plan_key(*key),
                    "risk": risk,
                    **measure(stop_scores(table, key), table.paths[EXACT].score, path, risk, costs),
                    **split_figures(stop_scores(table, key), path, risk, costs, chosen.splits),
                }
            )
    report("stops", {"confidence": CONFIDENCE, "rows": rows}, chosen.json)
    return 0


def part_bytes(table: SampleTable, key: tuple[str, int]) -> Array:
    """Return the bytes of the first parts and of all, ``(E + 1, N)``."""
    return np.stack([each.bytes for each in (*table.parts[key], table.paths[key])]).astype(float)


def measure(
    scores: ExitScores, whole: Array, path: Array, risk: float, costs: Array
) -> dict[str, Any]:
    """Return what thresholds certified on the first half do on the second one."""
    found = certify(scores.rows(np.arange(HALF)), path, Promise(risk, CONFIDENCE))
    rest = scores.rows(np.arange(HALF, len(scores.late)))
    leaves, lost = rest.leaves_at(found.thresholds), rest.lost(found.thresholds)
    score = rest.late - lost
    return {
        "thresholds": list(found.thresholds),
        "stops": (np.bincount(leaves, minlength=len(costs)) / len(leaves)).tolist(),
        "bytes": float(costs[:, HALF:][leaves, np.arange(len(leaves))].mean()),
        "bytes_of_all_parts": float(costs[-1, HALF:].mean()),
        "accuracy": float(score.mean()),
        **_named("change", paired_change(score, rest.late)),
        **_named("against_whole", paired_change(score, whole[HALF:])),
    }


def _named(name: str, change: Change) -> dict[str, float]:
    return {f"{name}_points": change.points, f"{name}_95": change.interval}


def split_figures(
    scores: ExitScores, path: Array, risk: float, costs: Array, splits: int
) -> dict[str, Any]:
    """Return how often the promise was kept, and at how many bytes."""
    kept = on_splits(scores, path, Promise(risk, CONFIDENCE), costs, splits)
    return {**kept.figures(), "median_bytes": float(np.median(kept.costs))}


if __name__ == "__main__":
    run(main)
