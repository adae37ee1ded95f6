"""Segment times on an unseen device, told from 10 of them.

Networks are cut at every place where files may part. Each device is predicted from the times on one
thread of this machine and 10 measured segments, at most half of them; the prior of the regression
is the one with which plans lose least on the other devices. In the same run: FLOPs alone, and one
factor for the whole device, both fitted to the same segments. A plan is chosen with each prediction
for every bandwidth, and judged by what it really takes: for a device 20 times slower than this
machine, which is the cloud.

Published tables of boards are predicted as well: each row, a network at a size, from the mean of
the other boards and 10 rows.

    SPLITNET_DATA=data python benchmarks/prediction.py --json out/prediction.json
"""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from prediction_devices import DEVICES, REFERENCE, Device, Feed, measure_device, open_session
from results import parser, report

from splitnet.builder.cuts import find_cuts
from splitnet.builder.model import SourceModel, load_model, source_from_torch
from splitnet.builder.prediction import CLASSES, MAX_SAMPLES, PRIOR, Features, Predictor, Prior
from splitnet.builder.segments import GraphFile, export_segments
from splitnet.builder.static_work import graph_work

Array: TypeAlias = NDArray[np.float64]

ROUNDS = 40
QUARTILE = 25.0
"""What counts of the rounds: the machine's own interruptions are no property of a device."""

SLOWER = 20.0
RTT_S = 0.01
BANDWIDTHS_BPS = np.geomspace(1e5, 1e9, 41)

LEAST_RANK, MOST_LOSS = 0.9, 0.05
"""What a prediction is meant to reach."""

PRIORS = [Prior(*v) for v in product((0.5, 1.0, 2.0), (0.1, 0.2, 0.3), (0.05, 0.08, 0.12))]
"""The prior is chosen among these, without the device that is predicted."""

NO_DATA = "NOT AVAILABLE: SPLITNET_DATA, the folder with the pretrained networks, is not set"

FRAMEWORK = "tensorrt"
"""Whose rows of the published table are compared: networks without pre- and postprocessing."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network in segments, and what they take on each device."""

    features: Features
    cut_bytes: Array
    times_s: Mapping[str, Array]
    repeatable: Mapping[str, float]

    @property
    def reference_s(self) -> Array:
        """What the segments take on one thread."""
        return self.times_s[REFERENCE]


def main() -> int:
    """Measure, print and write."""
    options = parser("Segment times on unseen devices from 10 samples.")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="measurements of a segment")
    chosen = options.parse_args()
    if not os.environ.get("SPLITNET_DATA"):
        report("prediction", {"networks": NO_DATA, "published_boards": NO_DATA}, chosen.json)
        return 0
    data = Path(os.environ["SPLITNET_DATA"])
    networks = {}
    for name, make in _sources(data):
        with tempfile.TemporaryDirectory() as folder:
            networks[name] = _measure(make(), Path(folder), chosen.rounds)
        print(f"measured {name}: {len(networks[name].reference_s)} segments", file=sys.stderr)
    targets = [name for name in DEVICES if all(name in n.times_s for n in networks.values())]
    targets.remove(REFERENCE)
    left_out = [name for name in DEVICES if name not in (REFERENCE, *targets)]
    figures: dict[str, Any] = {"samples": MAX_SAMPLES, "left_out": left_out, "devices": {}}
    for target in targets:
        others = [name for name in targets if name != target]
        prior = min(PRIORS, key=lambda p: _loss(networks.values(), others, p))
        figures["devices"][target] = {
            "prior": [prior.share_std, prior.slope_std, prior.noise_std],
            "networks": {name: _judge(n, target, prior) for name, n in networks.items()},
            "with_the_product_prior": {n: _judge(m, target, PRIOR) for n, m in networks.items()},
        }
    figures["summary"] = {
        of: _summary({name: found[of] for name, found in figures["devices"].items()})
        for of in ("networks", "with_the_product_prior")
    }
    figures["published_boards"] = _boards(data / "devices" / "trtutils_yolo_latency.csv")
    report("prediction", figures, chosen.json)
    return 0


def _sources(data: Path) -> Iterator[tuple[str, Callable[[], SourceModel]]]:
    spec = importlib.util.spec_from_file_location("data_models", data / "models.py")
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    yield "resnet56", lambda: _from_torch(models.cifar_resnet(56), 32)
    yield "mobilenet_v1", lambda: _from_torch(models.mobilenet("mobilenet_v1_0.75_192"), 192)
    yield "mobilenet_v2", lambda: _from_torch(models.mobilenet("mobilenet_v2_1.0_224"), 224)
    file = str(data / "weights" / "detector" / "yolox_nano_coco_416.onnx")
    yield "yolox_nano", lambda: load_model(file, [_image(416)])


def _from_torch(module: Any, side: int) -> SourceModel:
    return source_from_torch("network", module, [_image(side)])


def _image(side: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((1, 3, side, side), np.float32)


def _measure(model: SourceModel, folder: Path, rounds: int) -> Network:
    cuts = [cut for cut in find_cuts(model.graph) if cut.single and not cut.barred]
    files = export_segments(model, cuts, folder).segments
    paths = [folder / file.ref.file for file in files]
    side = int(model.graph.inputs[0].dims[-1])
    feeds = _feeds(paths, _image(side))
    times, repeatable = {}, {}
    for name, device in DEVICES.items():
        try:
            found = measure_device(device, paths, feeds, rounds)
        except OSError as error:
            print(f"left out: {name} ({error})", file=sys.stderr)
            continue
        times[name] = np.percentile(found, QUARTILE, axis=0)
        halves = (np.percentile(found[i::2], QUARTILE, axis=0) for i in range(2))
        repeatable[name] = rank_correlation(*halves)
    sizes = [sum(array.nbytes for array in feed.values()) for feed in feeds]
    return Network(_features(folder, files), np.array([*sizes, 0.0]), times, repeatable)


def _feeds(paths: Sequence[Path], image: NDArray[np.float32]) -> list[Feed]:
    feeds: list[Feed] = []
    tensors: list[Any] = [image]
    for path in paths:
        session = open_session(path, Device())
        names = [port.name for port in session.get_inputs()]
        feeds.append(dict(zip(names, tensors, strict=True)))
        tensors = session.run(None, feeds[-1])
    return feeds


def _features(folder: Path, files: Sequence[GraphFile]) -> Features:
    work = [graph_work(folder, file.ref) for file in files]
    return Features(
        shares=np.array([[file.costs.get(name, 0.0) for name in CLASSES] for file in files]),
        flops=np.array([file.flops for file in files], np.float64),
        moved_bytes=np.array([item.moved_bytes for item in work], np.float64),
        weight_bytes=np.array([item.weight_bytes for item in work], np.float64),
        operators=np.array([item.operators for item in work], np.float64),
    )


def _predict(network: Network, target: str, prior: Prior) -> tuple[list[int], Array, Array]:
    """Return the measured segments, all times, and the spread that the model states."""
    predictor = Predictor(network.features, network.reference_s, prior)
    truth = network.times_s[target]
    chosen = predictor.choose(min(MAX_SAMPLES, len(truth) // 2))
    return chosen, *predictor.predict({i: float(truth[i]) for i in chosen})


def _loss(networks: Collection[Network], targets: Sequence[str], prior: Prior) -> float:
    """Return what plans chosen with a prior lose, on average over networks, devices and links."""
    losses = [
        _regret(network, network.times_s[target], times_s, float(rate))
        for network, target in product(networks, targets)
        for times_s in [_predict(network, target, prior)[1]]
        for rate in BANDWIDTHS_BPS
    ]
    return float(np.mean(losses))


def _judge(network: Network, target: str, prior: Prior) -> dict[str, Any]:
    truth = network.times_s[target]
    chosen, found, std = _predict(network, target, prior)
    flops = network.features.flops
    rivals = {
        "predicted": found,
        "flops_only": flops * truth[chosen].sum() / flops[chosen].sum(),
        "one_factor": network.reference_s * truth[chosen].sum() / network.reference_s[chosen].sum(),
    }
    errors = np.abs(np.log(_left_out(found / truth, chosen)))
    return {
        "segments": len(truth),
        "repeatable_rank": round(network.repeatable[target], 3),
        **{name: _figures(network, truth, times_s, chosen) for name, times_s in rivals.items()},
        "stated_error": round(float(np.expm1(np.median(_left_out(std, chosen)))), 3),
        "within_stated": round(float(np.mean(errors <= _left_out(std, chosen))), 2),
    }


def _figures(
    network: Network, truth: Array, times_s: Array, chosen: Sequence[int]
) -> dict[str, float]:
    left, real = _left_out(times_s, chosen), _left_out(truth, chosen)
    regrets = [_regret(network, truth, times_s, float(rate)) for rate in BANDWIDTHS_BPS]
    return {
        "rank": round(rank_correlation(times_s, truth), 3),
        "rank_of_unmeasured": round(rank_correlation(left, real), 3),
        "median_error": round(float(np.median(np.abs(left / real - 1))), 3),
        "total_error": round(float(times_s.sum() / truth.sum() - 1), 3),
        "worst_plan_loss": round(max(regrets), 4),
        "mean_plan_loss": round(float(np.mean(regrets)), 4),
    }


def _regret(network: Network, truth: Array, times_s: Array, bandwidth_bps: float) -> float:
    """Return by how much the plan chosen with `times_s` is slower than the best one."""
    cloud_s = np.append(np.cumsum(network.reference_s[::-1])[::-1], 0.0)
    link_s = 8 * network.cut_bytes / bandwidth_bps + RTT_S
    link_s[-1] = 0.0
    real, believed = (
        SLOWER * np.append(0.0, np.cumsum(times)) + link_s + cloud_s for times in (truth, times_s)
    )
    return float(real[np.argmin(believed)] / real.min() - 1)


def _summary(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the least rank correlation and the largest loss over devices and networks."""
    rows = {
        f"{network} on {device}": row
        for device, found in devices.items()
        for network, row in found.items()
    }
    methods = {
        method: {
            "mean_rank": round(float(np.mean([r[method]["rank"] for r in rows.values()])), 3),
            "least_rank": min(row[method]["rank"] for row in rows.values()),
            "worst_plan_loss": max(row[method]["worst_plan_loss"] for row in rows.values()),
        }
        for method in ("predicted", "one_factor", "flops_only")
    }
    missed = {
        name: {
            "rank": row["predicted"]["rank"],
            "repeatable_rank": row["repeatable_rank"],
            "worst_plan_loss": row["predicted"]["worst_plan_loss"],
        }
        for name, row in rows.items()
        if row["predicted"]["rank"] < LEAST_RANK or row["predicted"]["worst_plan_loss"] > MOST_LOSS
    }
    return {**methods, "missed": missed}


def _boards(file: Path) -> dict[str, Any]:
    """Predict each board's rows from the mean of the other boards and 10 rows."""
    table: defaultdict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    with file.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["framework"] == FRAMEWORK:
                place = row["model"], int(row["imgsz"])
                table[row["device"]][place] = float(row["median_ms"]) / 1e3
    boards = {name: rows for name, rows in table.items() if len(rows) > 2 * MAX_SAMPLES}
    return {name: _board(name, boards) for name in boards}


def _board(name: str, boards: Mapping[str, Mapping[tuple[str, int], float]]) -> dict[str, Any]:
    others = [rows for other, rows in boards.items() if other != name]
    rows = [row for row in boards[name] if all(row in other for other in others)]
    truth = np.array([boards[name][row] for row in rows])
    reference_s = np.exp(np.mean([[np.log(o[row]) for row in rows] for o in others], axis=0))
    pixels = np.array([float(size * size) for _, size in rows])
    nothing = np.zeros(len(rows))
    shares = np.zeros((len(rows), len(CLASSES)))
    predictor = Predictor(Features(shares, nothing, pixels, nothing, nothing), reference_s)
    chosen = predictor.choose(MAX_SAMPLES)
    found, _ = predictor.predict({i: float(truth[i]) for i in chosen})
    factor = truth[chosen].sum() / reference_s[chosen].sum()
    rivals = {"predicted": found, "one_factor": factor * reference_s}
    return {"rows": len(rows)} | {
        method: {
            "rank": round(rank_correlation(times_s, truth), 3),
            "median_error": round(
                float(np.median(np.abs(_left_out(times_s / truth, chosen) - 1))), 3
            ),
        }
        for method, times_s in rivals.items()
    }


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's coefficient; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Array) -> Array:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return np.asarray((ends - (count - 1) / 2)[place], np.float64)


def _left_out(values: Array, chosen: Sequence[int]) -> Array:
    """Return what belongs to the segments that were not measured."""
    return np.delete(values, chosen)


if __name__ == "__main__":
    sys.exit(main())
