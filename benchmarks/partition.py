"""Whether the minimum cut is the best, every cut equals the whole, and what boundaries cost.

Needs the extra ``build`` and, for the networks, the folder that SPLITNET_DATA names. Partitions of
random graphs are compared with trying all of them; the segments and the fused runs of MobileNetV2
with its whole graph, in the same run, in turns, in one thread.

    SPLITNET_DATA=... python benchmarks/partition.py --json out/partition.json
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from results import parser, percentile, report

from splitnet.builder.boundaries import choose_boundaries
from splitnet.builder.cuts import Cut, find_cuts, input_bytes
from splitnet.builder.mincut import INPUT, Costs, CutFinder, Transfer
from splitnet.builder.model import SourceModel, source_from_torch
from splitnet.builder.segments import Exported, export_segments
from splitnet.runtime.sessions import Graph

Array: TypeAlias = NDArray[Any]
Run: TypeAlias = Callable[[], object]

TARGET = {
    "mincut_p95_ms": 1.0,
    "export_s": 60.0,
    "bundle_share": 1.1,
    "memory_share": 1.3,
    "fused_share": 1.03,
    "segments_share": 1.12,
}

WARM_UP = 5

RESIDENT = """
import sys
import numpy
from pathlib import Path
from splitnet.runtime.sessions import Graph
graphs = [Graph(Path(file), batch=1) for file in sys.argv[2:]]
if graphs:
    tensors = [numpy.load(sys.argv[1])]
    for graph in graphs:
        tensors = graph.run(tensors)
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmRSS"):
        print(int(line.split()[1]) / 1024)
"""


def main() -> int:
    """Measure, print and write; the exit code says whether all targets are met."""
    options = parser("Minimum cuts, exactness of all cuts, size and time of boundaries.")
    options.add_argument("--graphs", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=40)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    figures: dict[str, Any] = {"mincut": _mincut(chosen.graphs, chosen.seed)}
    met = not figures["mincut"]["wrong"]
    met &= figures["mincut"]["p95_ms"] <= TARGET["mincut_p95_ms"]
    folder = os.environ.get("SPLITNET_DATA")
    if folder:
        model, sample, load_s = _mobilenet(Path(folder))
        network = {"load_s": load_s, **_network(model, sample, chosen.rounds)}
        figures["mobilenet_v2"] = network
        met &= load_s + network["every_cut"]["seconds"] <= TARGET["export_s"]
        met &= network["every_cut"]["largest_error"] <= 1e-4
        for name in ("bundle_share", "memory_share", "fused_share", "segments_share"):
            met &= network[name] <= TARGET[name]
    else:
        figures["mobilenet_v2"] = "NOT AVAILABLE: SPLITNET_DATA is not set"
    report("partition", {**figures, "target": TARGET, "met": bool(met)}, chosen.json)
    return 0 if met else 1


def _mincut(graphs: int, seed: int) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    wrong, tried, periods = 0, 0, []
    for _ in range(graphs):
        count = int(chance.integers(2, 21))
        transfers, costs = _random_problem(chance, count)
        finder = CutFinder(count, transfers)
        latencies, longest = _every_partition(count, transfers, costs)
        least = float(latencies.min())
        wrong += abs(finder.fastest(costs).latency_s - least) > 1e-6 * least
        periods.append(finder.steadiest(costs)[0].period_s / float(longest.min()))
        tried += len(latencies)
    times = []
    for _ in range(200):
        transfers, costs = _random_problem(chance, 200)
        finder = CutFinder(200, transfers)
        times.append(min(_milliseconds(partial(finder.fastest, costs)) for _ in range(3)))
    return {
        "graphs": graphs,
        "partitions_tried": tried,
        "wrong": wrong,
        "operators": 200,
        "p50_ms": percentile(times, 50),
        "p95_ms": percentile(times, 95),
        "period_over_least_mean": float(np.mean(periods)),
        "period_over_least_p95": percentile(periods, 95),
        "period_over_least_max": max(periods),
    }


def _random_problem(
    chance: np.random.Generator, count: int, reach: int = 6
) -> tuple[tuple[Transfer, ...], Costs]:
    """Return a graph whose operators read one to three of the `reach` tensors before them."""
    readers: dict[int, list[int]] = {node: [] for node in range(INPUT, count)}
    for node in range(count):
        for source in set(chance.integers(max(INPUT, node - reach), node, chance.integers(1, 4))):
            readers[int(source)].append(node)
    transfers = tuple(
        Transfer(source, tuple(found), final=source == count - 1 or not found)
        for source, found in readers.items()
        if found or source != INPUT
    )
    device, cloud, send = (
        chance.exponential(mean, size)
        for mean, size in ((1e-3, count), (1e-4, count), (3e-3, len(transfers)))
    )
    return transfers, Costs(device, cloud, send, float(chance.exponential(1e-3)))


def _every_partition(
    count: int, transfers: Sequence[Transfer], costs: Costs
) -> tuple[Array, Array]:
    """Return latency and period of every partition."""
    reads = [0] * count
    for transfer in transfers:
        for consumer in transfer.consumers:
            reads[consumer] |= 0 if transfer.producer == INPUT else 1 << transfer.producer
    level, found = {0}, {0}
    while level:
        level = {
            nodes | 1 << node
            for nodes in level
            for node in range(count)
            if not nodes >> node & 1 and not reads[node] & ~nodes
        }
        found |= level
    here = np.array([[nodes >> node & 1 for node in range(count)] for nodes in found], bool)
    away = ~here.all(1)
    device, cloud = here @ costs.device_s, ~here @ costs.cloud_s
    send = away * costs.fixed_s
    for transfer, seconds in zip(transfers, costs.send_s, strict=True):
        made = here[:, transfer.producer] if transfer.producer != INPUT else True
        needed = away if transfer.final else ~here[:, list(transfer.consumers)].all(1)
        send = send + seconds * (made & needed & away)
    return device + send + cloud, np.maximum(np.maximum(device, send), cloud)


def _mobilenet(folder: Path) -> tuple[SourceModel, Array, float]:
    spec = importlib.util.spec_from_file_location("partition_models", folder / "models.py")
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    file, _ = models.imagenet_val()[0]
    sample = models.imagenet_input(file, 224)[np.newaxis]
    began_s = time.perf_counter()
    model = source_from_torch("mobilenet_v2", models.mobilenet(), [sample])
    return model, sample, time.perf_counter() - began_s


def _network(model: SourceModel, sample: Array, rounds: int) -> dict[str, Any]:
    cuts = find_cuts(model.graph)
    chosen = [c.cut for c in choose_boundaries(cuts, input_bytes=input_bytes(model.graph))]
    count = len(chosen) + 1
    runs = [(0, i) for i in range(2, count)] + [(i, count) for i in range(1, count - 1)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        exported = export_segments(model, chosen, folder, runs)
        assert model.module is not None
        weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
        kept = [exported.whole, *exported.segments]
        kept += [file for (first, _), file in exported.fused.items() if not first]
        stored = sum((folder / file.ref.file).stat().st_size for file in kept)
        stored += sum(path.stat().st_size for path in (folder / "shards").iterdir())
        return {
            "every_cut": _every_cut(model, [c for c in cuts if c.single], sample),
            "boundaries": [cut.id for cut in chosen],
            "bundle_share": stored / weights,
            "memory_share": _memory(exported, sample, folder),
            **_times(exported, sample, folder, chosen, rounds),
        }


def _every_cut(model: SourceModel, cuts: Sequence[Cut], sample: Array) -> dict[str, Any]:
    """Export at all single-tensor cuts, barred ones too, and compare with the original."""
    began_s = time.perf_counter()
    batch = [np.concatenate([sample, np.flip(sample, -1)])]
    expected = model.reference(batch)[0]
    with TemporaryDirectory() as name:
        exported = export_segments(model, cuts, Path(name))
        tensors = batch
        for segment in exported.segments:
            tensors = Graph(Path(name) / segment.ref.file).run(tensors)
        (whole,) = Graph(Path(name) / exported.whole.ref.file).run(batch)
    errors = [np.abs(found - expected).max() for found in (tensors[0], whole)]
    return {
        "cuts": len(cuts),
        "seconds": time.perf_counter() - began_s,
        "largest_error": float(max(errors) / np.abs(expected).max()),
    }


def _memory(exported: Exported, sample: Array, folder: Path) -> float:
    """Return what the segments need of resident memory, as a share of what the whole needs."""
    np.save(folder / "sample.npy", sample)
    files = [[exported.whole], [*exported.segments]]
    whole, segments = (
        float(
            subprocess.run(
                [sys.executable, "-c", RESIDENT, str(folder / "sample.npy")]
                + [str(folder / file.ref.file) for file in group],
                capture_output=True,
                check=True,
                text=True,
            ).stdout
        )
        for group in files
    )
    return segments / whole


def _times(
    exported: Exported, sample: Array, folder: Path, chosen: Sequence[Cut], rounds: int
) -> dict[str, Any]:
    """Measure each way of running the model in turns with the whole, as a share of its time."""
    count = len(exported.segments)
    files = {(i, i + 1): file for i, file in enumerate(exported.segments)} | dict(exported.fused)
    ways = {"segments": [(i, i + 1) for i in range(count)]}
    ways |= {f"at {cut.id}": [(0, i), (i, count)] for i, cut in enumerate(chosen, 1)}
    whole = Graph(folder / exported.whole.ref.file, batch=1)
    shares, whole_ms = {}, []
    for name, way in ways.items():
        # Nothing else is open: a fused run replaces its segments in memory and in the caches.
        graphs = [Graph(folder / files[key].ref.file, batch=1) for key in way]
        ratios = []
        for number in range(WARM_UP + rounds):
            reference = _milliseconds(partial(_chain, [whole], sample))
            ratio = _milliseconds(partial(_chain, graphs, sample)) / reference
            if number >= WARM_UP:
                ratios.append(ratio)
                whole_ms.append(reference)
        shares[name] = median(ratios)
    fused = {name: share for name, share in shares.items() if name.startswith("at ")}
    return {
        "whole_ms": median(whole_ms),
        "segments_share": shares["segments"],
        "fused_share": median(fused.values()),
        "fused_share_at_each": fused,
    }


def _chain(graphs: Sequence[Graph], sample: Array) -> object:
    tensors = [sample]
    for graph in graphs:
        tensors = graph.run(tensors)
    return tensors


def _milliseconds(work: Run) -> float:
    began_s = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began_s)


if __name__ == "__main__":
    sys.exit(main())
