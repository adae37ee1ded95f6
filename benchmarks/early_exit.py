r"""Certified early exits: how much time they save, what they lose, and whether the promise holds.

ResNet-56 on CIFAR-10 with the trained exits of ``examples/cifar10/model.py``, and beside them, as
the simplest alternative, a whole ResNet-20 as an exit at the input. The graphs of a bundle run in
onnxruntime, one image at a time, in one thread. Thresholds are certified on the first 2,400 test
images; accuracy and mean wall clock are those of the other 2,400, where every image is also
answered by the whole network, in turns. Then the 4,800 images are split at random 100 times: each
time one half certifies and the other tells whether the promise was kept.

    SPLITNET_DATA=... python benchmarks/early_exit.py --json out/early_exit.json \
        --picture out/early_exit.png

Takes about three minutes; ``--keep FOLDER`` keeps the bundles for the next time. ``--joint`` names
results of the recipe ``exits`` with a network that learned along.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from exit_picture import Curve, draw
from numpy.typing import NDArray
from paired import paired_change
from results import parser, report, shared_data
from splits import HALF, SPLITS, on_splits

from splitnet import registry
from splitnet.builder.build import BuildConfig, build
from splitnet.builder.data import Dataset, load_data
from splitnet.builder.execution import Execution, batches, inputs_of
from splitnet.builder.places import NONE
from splitnet.bundle import Bundle
from splitnet.console import Silent
from splitnet.runtime.answers import labels, load_confidence
from splitnet.runtime.directory import open_bundle
from splitnet.training.certify import (
    CLOSED,
    Certificate,
    ExitScores,
    Promise,
    certify,
    threshold_path,
)
from splitnet.training.exit_results import ExitResults
from splitnet.training.results import Folder
from splitnet.values import exit_stage, segment_stage

Array = NDArray[Any]

EXAMPLE = Path(__file__).parent.parent / "examples" / "cifar10"
PREPROCESS = "scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw"


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A network with exits: the model, its cuts, the places of the exits, and their heads."""

    model: str
    cuts: tuple[str, ...]
    places: tuple[str, ...]
    heads: str


MODEL = f"{EXAMPLE / 'model.py'}:"
CUTS = ("layer1.2", "layer3.0")
ARRANGEMENTS = {
    "exits": Arrangement(f"{MODEL}resnet56", CUTS, CUTS, f"{MODEL}exits"),
    "little": Arrangement(f"{MODEL}resnet56", CUTS[1:], ("input",), f"{MODEL}little_exit"),
}
JUDGED = "exits"
"""The arrangement that must meet the targets."""

TEMPERATURE_ROWS = "[7000:]"
"""Training images that the heads have not seen, of the last third."""

RISKS = (0.005, 0.01)
CONFIDENCE = 0.95
STAGE_RUNS = 200
WARM_UP = 20

TARGET: dict[str, Any] = {
    "speed_up": {"0.005": 1.5, "0.01": 1.9},
    "stretch": 1.9,
    "holds": 93,
    "median": 1.3,
}


@dataclass(frozen=True)
class Answers:
    """What exits and whole network say to the test images.

    Attributes
    ----------
    exits
        Logits of each exit ``(E, N, C)``.
    early, late
        Whether exits ``(E, N)`` and the whole network ``(N,)`` are right.
    """

    exits: Array
    early: Array
    late: Array

    def scores(self, bundle: Bundle, measure: str) -> ExitScores:
        """Return them with the confidences of a measure."""
        confidence = load_confidence(measure)
        heads = bundle.advice.exits
        found = [confidence(x, head.temperature) for x, head in zip(self.exits, heads, strict=True)]
        return ExitScores(np.stack(found).astype(np.float32), self.early, self.late)


def main() -> int:
    """Build, certify, time and report; the exit code says whether the targets were met."""
    options = parser("Time saved and accuracy lost by certified early exits.")
    options.add_argument("--picture", type=Path, metavar="PNG", help="draw the figures")
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the bundle there")
    options.add_argument(
        "--joint", type=Path, metavar="FOLDER", help="exits that a network learned with, too"
    )
    options.add_argument("--splits", type=int, default=SPLITS, help="random splits (100)")
    arguments = options.parse_args()
    data = shared_data()
    with TemporaryDirectory() as scratch:
        test = load_data(str(data / "cifar10" / "cifar10_test.npz"), "test")
        figures: dict[str, Any] = {"model": "ResNet-56, CIFAR-10", "target": TARGET}
        arrangements, original = dict(ARRANGEMENTS), None
        if arguments.joint is not None:
            learned = str(arguments.joint)
            network = Folder(arguments.joint).read(ExitResults).network
            arrangements[f"joint-{network[:8]}"] = Arrangement(learned, CUTS, CUTS, learned)
        for name, arrangement in arrangements.items():
            folder = (arguments.keep or Path(scratch)) / f"{name}.bundle"
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                build_bundle(data, arrangement, folder)
            figures[name], curves, answers = measure_all(folder, test, arguments.splits, original)
            original = answers.late if original is None else original
            if arguments.picture is not None and name == JUDGED:
                bundle = open_bundle(folder)
                scores = answers.scores(bundle, bundle.advice.exits[0].confidence)
                draw(curves, scores, [head.id for head in bundle.advice.exits], arguments.picture)
    figures["met"] = targets_met(figures[JUDGED])
    report("early_exit", figures, arguments.json)
    return 0 if figures["met"] else 1


def build_bundle(data: Path, arrangement: Arrangement, out: Path) -> None:
    """Write a bundle with an arrangement of exits."""
    test = data / "cifar10" / "cifar10_test.npz"
    config = BuildConfig(
        model=arrangement.model,
        data=f"{data / 'cifar10' / 'cifar10_train_2.npz'}{TEMPERATURE_ROWS}",
        calib=f"{test}[:{HALF}]",
        test=f"{test}[{HALF}:]",
        out=out,
        cuts=arrangement.cuts,
        exit_at=",".join(arrangement.places),
        exit_heads=arrangement.heads,
        exit_risk=max(RISKS),
        exit_confidence=CONFIDENCE,
        bottleneck_at=NONE,
        preprocess=PREPROCESS,
    )
    build(config, Silent())


def measure_all(
    folder: Path, test: Dataset, splits: int, original: Array | None
) -> tuple[dict[str, Any], list[Curve], Answers]:
    """Return all figures, the curves of speed-up against accuracy, and what was answered.

    Parameters
    ----------
    original
        Whether the network as it was is right ``(N,)``; ``None``: it is that of the bundle.
    """
    bundle = open_bundle(folder)
    answers = ask_all(folder, bundle, test)
    original = answers.late if original is None else original
    single = Execution(folder, bundle.contract, threads=1, batch=1)
    stages_s = time_stages(single, bundle, test)
    leave_s, whole_s = leaving_times(stages_s, bundle)
    path = exit_path(bundle)
    late = answers.late.mean()
    figures: dict[str, Any] = {
        "whole_accuracy": float(late),
        "exit_accuracy": dict(
            zip((h.id for h in bundle.advice.exits), answers.early.mean(axis=1), strict=True)
        ),
        "stages_ms": {name: 1e3 * value for name, value in stages_s.items()},
        "halves": [],
        "splits": [],
    }
    for measure in registry.names("confidences"):
        scores = answers.scores(bundle, measure)
        for risk in RISKS:
            promise = Promise(risk, CONFIDENCE)
            found = certify(scores.rows(np.arange(HALF)), path, promise)
            timed = measure == bundle.advice.exits[0].confidence
            half = on_other_half(scores, original, found, leave_s, whole_s)
            if timed:
                half |= time_half(single, bundle, test, found, measure)
            figures["halves"].append({"measure": measure, "risk": risk, **half})
            if timed:
                costs = np.broadcast_to(leave_s[:, None], (len(leave_s), len(test)))
                kept = on_splits(scores, path, promise, costs, splits)
                figures["splits"].append(
                    {
                        "measure": measure,
                        "risk": risk,
                        **kept.figures(),
                        "median_speed_up": float(np.median(whole_s / kept.costs)),
                    }
                )
    curves = [
        trade_off(measure, answers.scores(bundle, measure), path, leave_s, whole_s)
        for measure in registry.names("confidences")
    ]
    return figures, curves, answers


def exit_path(bundle: Bundle) -> Array:
    """Return the path through threshold space: weights are the work that leaving saves."""
    flops = bundle.advice.flops
    segments = [flops[segment_stage(i)] for i in range(len(bundle.contract.segments))]
    return threshold_path([sum(segments[head.boundary :]) for head in bundle.advice.exits])


def ask_all(folder: Path, bundle: Bundle, test: Dataset) -> Answers:
    """Run every exit and the whole network on all test images."""
    execution = Execution(folder, bundle.contract)
    assert test.y is not None
    exits: list[list[Array]] = [[] for _ in bundle.advice.exits]
    late: list[Array] = []
    for rows in batches(len(test)):
        inputs = inputs_of(bundle.contract, test, rows)
        boundaries = execution.boundaries(inputs)
        for head, parts in zip(bundle.advice.exits, exits, strict=True):
            parts.append(execution.run(head.graph, boundaries[head.boundary])[0])
        late.append(labels(boundaries[-1][0]))
    logits = np.stack([np.concatenate(parts) for parts in exits])
    early = np.stack([labels(x)[:, 0] == test.y[:, 0] for x in logits]).astype(float)
    return Answers(logits, early, (np.concatenate(late)[:, 0] == test.y[:, 0]).astype(float))


# --- time -------------------------------------------------------------------------------------


def time_stages(execution: Execution, bundle: Bundle, test: Dataset) -> dict[str, float]:
    """Return the mean time of each stage and of the whole network, in turns, in seconds."""
    contract = bundle.contract
    totals: dict[str, float] = {}
    for row in range(WARM_UP + STAGE_RUNS):
        if row == WARM_UP:
            totals.clear()
        tensors: list[Array] = list(inputs_of(contract, test, range(row, row + 1)))
        _timed(totals, "whole", execution, contract.whole, tensors)
        _time_heads(totals, execution, bundle, 0, tensors)
        for index, segment in enumerate(contract.segments):
            name = segment_stage(index)
            tensors = _timed(totals, name, execution, segment.graph, tensors)
            _time_heads(totals, execution, bundle, index + 1, tensors)
    return {name: total / STAGE_RUNS for name, total in totals.items()}


def _time_heads(
    totals: dict[str, float],
    execution: Execution,
    bundle: Bundle,
    boundary: int,
    tensors: Sequence[Array],
) -> None:
    for head in bundle.advice.exits:
        if head.boundary == boundary:
            _timed(totals, exit_stage(head.id), execution, head.graph, tensors)


def _timed(
    totals: dict[str, float], name: str, execution: Execution, graph: Any, tensors: Sequence[Array]
) -> list[Array]:
    began_s = time.perf_counter()
    found = execution.run(graph, tensors)
    totals[name] = totals.get(name, 0.0) + time.perf_counter() - began_s
    return found


def leaving_times(stages_s: dict[str, float], bundle: Bundle) -> tuple[Array, float]:
    """Return the time to an answer at each exit and at the end, and that of the whole network."""
    spent_s, found = 0.0, []
    for boundary in range(len(bundle.contract.boundaries)):
        spent_s += stages_s[segment_stage(boundary - 1)] if boundary else 0.0
        for head in bundle.advice.exits:
            if head.boundary == boundary:
                spent_s += stages_s[exit_stage(head.id)]
                found.append(spent_s)
    return np.array([*found, spent_s]), stages_s["whole"]


def time_half(
    execution: Execution, bundle: Bundle, test: Dataset, found: Certificate, measure: str
) -> dict[str, Any]:
    """Answer each image of the second half early and by the whole network, in turns."""
    contract = bundle.contract
    early_s, whole_s = [], []
    for row in range(HALF - WARM_UP, len(test)):
        inputs = list(inputs_of(contract, test, range(row, row + 1)))
        began_s = time.perf_counter()
        answer_early(execution, bundle, inputs, found.thresholds, measure)
        between_s = time.perf_counter()
        execution.run(contract.whole, inputs)
        early_s.append(between_s - began_s)
        whole_s.append(time.perf_counter() - between_s)
    early, whole = np.array(early_s[WARM_UP:]), np.array(whole_s[WARM_UP:])
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(early), (1000, len(early)))
    ratios = whole[drawn].mean(axis=1) / early[drawn].mean(axis=1)
    return {
        "early_ms": 1e3 * float(early.mean()),
        "whole_ms": 1e3 * float(whole.mean()),
        "speed_up": float(whole.mean() / early.mean()),
        "speed_up_95": [float(q) for q in np.quantile(ratios, (0.025, 0.975))],
    }


def answer_early(
    execution: Execution,
    bundle: Bundle,
    inputs: list[Array],
    thresholds: Sequence[float],
    measure: str,
) -> Array:
    """Return the logits of the first exit that is sure enough, or of the network's end."""
    confidence = load_confidence(measure)
    exits = list(zip(bundle.advice.exits, thresholds, strict=True))
    tensors = inputs
    for boundary in range(len(bundle.contract.boundaries)):
        if boundary:
            tensors = execution.run(bundle.contract.segments[boundary - 1].graph, tensors)
        for head, threshold in exits:
            if head.boundary == boundary and threshold < CLOSED:
                logits = execution.run(head.graph, tensors)[0]
                if np.float32(confidence(logits, head.temperature)[0]) >= np.float32(threshold):
                    return logits
    return tensors[0]


# --- accuracy ---------------------------------------------------------------------------------


def on_other_half(
    scores: ExitScores, original: Array, found: Certificate, leave_s: Array, whole_s: float
) -> dict[str, Any]:
    """Return what certified thresholds do on the second half.

    The promise is against the network behind the exits; where that has learned with them, what it
    lost itself against the `original` one is no part of the promise.
    """
    rest = scores.rows(np.arange(HALF, len(scores.late)))
    leaves = rest.leaves_at(found.thresholds)
    score = rest.late - rest.lost(found.thresholds)
    change, against = (paired_change(score, whole) for whole in (rest.late, original[HALF:]))
    return {
        "thresholds": list(found.thresholds),
        "leaves": (np.bincount(leaves, minlength=len(leave_s)) / len(leaves)).tolist(),
        "accuracy": float(score.mean()),
        "change_points": change.points,
        "change_95": change.interval,
        "against_original_points": against.points,
        "against_original_95": against.interval,
        "speed_up_by_stages": float(whole_s / leave_s[leaves].mean()),
    }


def trade_off(name: str, scores: ExitScores, path: Array, leave_s: Array, whole_s: float) -> Curve:
    """Return speed-up and change of accuracy along the path, on the second half."""
    rest = scores.rows(np.arange(HALF, len(scores.late)))
    points = []
    for step in path:
        speed_up = whole_s / leave_s[rest.leaves_at(step.tolist())].mean()
        points.append((float(speed_up), -100 * float(rest.lost(step.tolist()).mean())))
    return Curve(name, tuple(points))


def targets_met(figures: dict[str, Any]) -> bool:
    """Whether speed-ups and certificates are as good as they should be."""
    timed = {str(half["risk"]): half for half in figures["halves"] if "speed_up" in half}
    fast = all(timed[risk]["speed_up"] >= goal for risk, goal in TARGET["speed_up"].items())
    first = figures["splits"][0]
    sure = first["holds"] >= TARGET["holds"] * first["splits"] / SPLITS
    return bool(fast and sure and first["median_speed_up"] >= TARGET["median"])


if __name__ == "__main__":
    sys.exit(main())
