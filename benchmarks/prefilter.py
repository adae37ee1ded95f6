r"""Certified prefilters: what is skipped, whether the recall is kept, and the bytes that it saves.

ResNet-56 on CIFAR-10, cut behind its first third; a small head there is trained to find nothing of
interest. Its threshold is certified on the first 2,400 test images; recall, skipped share and bytes
are those of the other 2,400. Then the 4,800 images are split at random 100 times: each time one
half certifies and the other tells whether the promise was kept. Beside it, to show what the
certificate is worth, the threshold that just keeps the recall on the calibration half.

    SPLITNET_DATA=... python benchmarks/prefilter.py --json out/prefilter.json

Takes some eight minutes, nearly all of it the two builds; ``--keep FOLDER`` keeps the bundles.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paired import NORMAL_95
from results import parser, report, shared_data
from splits import HALF, SPLITS

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.data import Dataset, load_data
from splitnet.builder.execution import Execution, batches, inputs_of
from splitnet.builder.places import NONE
from splitnet.builder.prefilter_building import CONFIDENCE
from splitnet.bundle import Bundle, Prefilter
from splitnet.console import Silent
from splitnet.runtime.answers import absence
from splitnet.runtime.directory import open_bundle
from splitnet.training.recall import RecallPromise, certify_recall
from splitnet.values import SKIP, ExitStep, Plan, exit_stage, segment_stage

Array = NDArray[Any]

EXAMPLE = Path(__file__).parent.parent / "examples" / "cifar10"
PREPROCESS = "scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw"
CUT = "layer1"
INTERESTS = {"vehicles": "0,1,8,9", "cats and dogs": "3,5"}
TRAINING = 10000
PROMISE = RecallPromise(0.99, 0.95)

TARGET = {"holds": 93}
"""Of 100 splits; 95 are promised, and 93 is what 100 draws may show of that."""


def main() -> int:
    """Build, certify and report; the exit code says whether the certificate held."""
    options = parser("What certified prefilters skip, and whether they keep their recall.")
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the bundles there")
    options.add_argument("--splits", type=int, default=SPLITS, help="random splits (100)")
    arguments = options.parse_args()
    data = shared_data()
    test = load_data(str(data / "cifar10" / "cifar10_test.npz"), "test")
    figures: dict[str, Any] = {"model": "ResNet-56, CIFAR-10", "cut": CUT, "target": TARGET}
    with TemporaryDirectory() as scratch:
        for name, interest in INTERESTS.items():
            folder = (arguments.keep or Path(scratch)) / f"{name.replace(' ', '-')}.bundle"
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                build_bundle(data, interest, folder)
            figures[name] = measure(folder, test, arguments.splits)
    figures["met"] = all(
        figures[name]["splits"]["certified"]["holds"] >= TARGET["holds"] * arguments.splits / SPLITS
        for name in INTERESTS
    )
    report("prefilter", figures, arguments.json)
    return 0 if figures["met"] else 1


def build_bundle(data: Path, interest: str, out: Path) -> None:
    """Write a bundle with a prefilter and no exits."""
    test = data / "cifar10" / "cifar10_test.npz"
    config = BuildConfig(
        model=f"{EXAMPLE / 'model.py'}:resnet56",
        data=f"{data / 'cifar10' / 'cifar10_train_0.npz'}[:{TRAINING}]",
        calib=f"{test}[:{HALF}]",
        test=f"{test}[{HALF}:]",
        out=out,
        cuts=(CUT,),
        exit_at=NONE,
        bottleneck_at=NONE,
        preprocess=PREPROCESS,
        interest=interest,
        interest_recall=PROMISE.recall,
        interest_confidence=PROMISE.confidence,
    )
    build(config, Silent())


def measure(folder: Path, test: Dataset, splits: int) -> dict[str, Any]:
    """Return what the bundle's threshold does on the second half, and what others do on splits."""
    bundle = open_bundle(folder)
    prefilter = bundle.advice.prefilter
    assert prefilter is not None and test.y is not None
    nothing = ~np.isin(test.y[:, 0], prefilter.interest)
    sure = ask(folder, bundle, prefilter, test)
    threshold = prefilter.head.threshold
    return {
        "interest": list(prefilter.interest),
        "of_interest": float(1 - nothing.mean()),
        "head_share": bundle.advice.flops[exit_stage(SKIP)] / whole_flops(bundle),
        "threshold": threshold,
        "other_half": outcome(sure[HALF:], nothing[HALF:], threshold),
        "bytes": request_bytes(bundle, threshold),
        "splits": on_splits(sure, nothing, splits),
    }


def whole_flops(bundle: Bundle) -> int:
    """Return the operations of all segments."""
    flops = bundle.advice.flops
    return sum(flops[segment_stage(i)] for i in range(len(bundle.contract.segments)))


def ask(folder: Path, bundle: Bundle, prefilter: Prefilter, test: Dataset) -> Array:
    """Return how sure the prefilter is of each test image that nothing in it is of interest."""
    execution = Execution(folder, bundle.contract)
    head = prefilter.head
    found = []
    for rows in batches(len(test)):
        boundaries = execution.boundaries(inputs_of(bundle.contract, test, rows))
        logits = execution.run(head.graph, boundaries[head.boundary])[0]
        found.append(absence(logits, head.temperature))
    return np.concatenate(found).astype(np.float32)


def outcome(sure: Array, nothing: Array, threshold: float) -> dict[str, float]:
    """Return recall and skipped shares of a threshold."""
    skipped = sure >= np.float32(threshold)
    kept = 1 - skipped[~nothing].mean()
    error = np.sqrt(kept * (1 - kept) / (~nothing).sum())
    return {
        "recall": float(kept),
        "recall_95": NORMAL_95 * float(error),
        "skipped": float(skipped.mean()),
        "skipped_of_nothing": float(skipped[nothing].mean()),
    }


def request_bytes(bundle: Bundle, threshold: float) -> dict[str, float]:
    """Return the mean payload of the 8-bit cut without and with the prefilter, on the table."""
    rule = (ExitStep(SKIP, CONFIDENCE, threshold),)
    without, with_it = (
        bundle.table.plan_statistics(Plan(CUT, 1, steps)).bytes for steps in ((), rule)
    )
    return {"without": without, "with": with_it}


def on_splits(sure: Array, nothing: Array, splits: int) -> dict[str, dict[str, float]]:
    """Choose thresholds on random halves and look at the other: certified, and by the mean."""
    found: dict[str, list[dict[str, float]]] = {"certified": [], "by the mean alone": []}
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(sure))
        own, rest = order[:HALF], order[HALF:]
        certified = certify_recall(sure[own], nothing[own], PROMISE).threshold
        plain = np.quantile(sure[own][~nothing[own]], PROMISE.recall, method="higher")
        for name, threshold in zip(found, (certified, float(plain)), strict=True):
            found[name].append(outcome(sure[rest], nothing[rest], threshold))
    return {
        name: {
            "holds": sum(row["recall"] >= PROMISE.recall for row in rows),
            "median_skipped": float(np.median([row["skipped"] for row in rows])),
        }
        for name, rows in found.items()
    }


if __name__ == "__main__":
    sys.exit(main())
