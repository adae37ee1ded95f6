"""How far are emulated device classes from the boards? Whole networks against published times.

The reference network is right by definition. The others were published on the same page, by the
same engine: what they differ by is the error of one factor for a whole board, and of carrying over
from one engine to another. Networks run here through onnxruntime on one thread, and the emulation
waits for the rest, as `splitnet edge run --emulate-device` does.

    python benchmarks/device_classes.py --json out/device_classes.json
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import NETWORKS
from results import parser, percentile, report

from splitnet.builder.reference import ReferenceTimer
from splitnet.devices import DEVICE_CLASSES, NCNN, REFERENCE_NETWORK, profile_on
from splitnet.runtime.emulation import ProfileStretcher
from splitnet.runtime.sessions import Graph
from splitnet.values import Profile, StageTime

IMAGE = (1, 3, 224, 224)
NETWORK = "network"
ROUNDS = 40
REPEATS = 3

PUBLISHED_MS: Mapping[str, tuple[float, ...]] = {
    "raspberry-pi-zero-2-w": (393.94, 240.77, 654.69, 1802.79),
    "raspberry-pi-3b-plus": (205.65, 125.58, 379.57, 979.75),
    "raspberry-pi-4": (124.32, 73.96, 191.10, 534.11),
    "raspberry-pi-5": (20.30, 11.87, 29.68, 89.43),
    "jetson-nano": (137.63, 86.14, 221.60, 624.84),
    "jetson-nano-gpu": (16.15, 13.55, 44.01, 93.21),
    "jetson-tx2-nx": (88.92, 49.98, 124.86, 386.49),
    "jetson-agx-xavier": (37.85, 22.68, 53.40, 170.51),
    "jetson-orin-nano": (28.83, 16.04, 48.83, 138.48),
}
"""Source: the page that `splitnet.devices.NCNN` names, average, for the networks of `NETWORKS` in
their order (there: mobilenet, squeezenet, resnet18, resnet50)."""


def main() -> int:
    """Measure, print and write."""
    options = parser("Emulated whole networks against published times, by device class.")
    chosen = options.parse_args()
    reference = ReferenceTimer(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        graphs = {name: _open(name, Path(folder)) for name in NETWORKS}
        times_s: dict[str, list[float]] = {name: [] for name in graphs}
        for _ in range(ROUNDS):  # in turn, so that all see the same load
            for name, graph in graphs.items():
                times_s[name].append(_time_s(graph))
            reference.run(len(graphs))
        reference_s = reference.time_s
        profiles = {name: _profile(percentile(t, 25), reference_s) for name, t in times_s.items()}
        classes = {
            device: {
                name: _compare(device, graphs[name], profiles[name], published_ms)
                for name, published_ms in zip(NETWORKS, published, strict=True)
            }
            for device, published in PUBLISHED_MS.items()
        }
    here = {name: round(1000 * p.stages[NETWORK].p50_s, 2) for name, p in profiles.items()}
    figures = {
        "source": NCNN,
        "here_ms": {REFERENCE_NETWORK: round(1000 * reference_s, 2), **here},
        "classes": classes,
    }
    report("device_classes", figures, chosen.json)
    return 0


def _open(name: str, folder: Path) -> Graph:
    file = folder / f"{name}.onnx"
    network, image = NETWORKS[name]().eval(), torch.zeros(IMAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of its own parts
        torch.onnx.export(
            network,
            (image,),
            file,
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return Graph(file, threads=1, batch=1)


def _time_s(graph: Graph) -> float:
    began_s = time.perf_counter()
    graph.run([np.zeros(IMAGE, np.float32)])
    return time.perf_counter() - began_s


def _profile(time_s: float, reference_s: float) -> Profile:
    return Profile("here", {NETWORK: StageTime(time_s, time_s)}, {}, reference_s)


def _compare(device: str, graph: Graph, profile: Profile, published_ms: float) -> dict[str, Any]:
    """Say how far a class is from the board, and how far its emulation here is from the class."""
    there = profile_on(DEVICE_CLASSES[device], profile)
    class_ms = 1000 * there.stages[NETWORK].p50_s
    stretcher = ProfileStretcher(there)
    emulated_ms = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        stretcher.add(NETWORK, _time_s(graph))
        stretcher.settle()
        emulated_ms.append(1000 * (time.perf_counter() - began_s))
    return {
        "published_ms": published_ms,
        "class_ms": round(class_ms, 2),
        "error_percent": round(100 * (class_ms / published_ms - 1), 1),
        "emulated_ms": round(percentile(emulated_ms, 50), 2),
        "too_fast_for_this_machine": stretcher.shortfall() is not None,
    }


if __name__ == "__main__":
    sys.exit(main())
