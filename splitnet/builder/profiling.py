"""The profile of this machine: how long each stage takes for one sample, alone and warmed up."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Execution, inputs_of
from splitnet.bundle import ExitHead
from splitnet.console import Progress
from splitnet.runtime.preprocess import prepare
from splitnet.values import (
    PREPARE_STAGE,
    Profile,
    StageTime,
    decode_stage,
    encode_stage,
    exit_stage,
    segment_stage,
)

DEVICE = "build machine"
WARM_UP = 5
REPEATS = 50
STAGE_SECONDS = 1.0
"""Bound on the measurement of one stage; a slow stage is repeated less often."""

MIN_REPEATS = 5


def profile_bundle(
    execution: Execution, exits: Sequence[ExitHead], data: Dataset, threads: int, progress: Progress
) -> Profile:
    """Measure every stage of a bundle with samples of `data`.

    Parameters
    ----------
    execution
        Opened for `threads` threads and batch 1.
    """
    contract = execution.contract
    sample = data.load(0)
    boundaries = execution.boundaries(inputs_of(contract, data, [0]))
    work: dict[str, Callable[[], object]] = {
        PREPARE_STAGE: lambda: prepare(sample, contract.preprocess)
    }
    for index, segment in enumerate(contract.segments):
        work[segment_stage(index)] = _call(execution.run, segment.graph, boundaries[index])
    for head in exits:
        work[exit_stage(head.id)] = _call(execution.run, head.graph, boundaries[head.boundary])
    for path in contract.paths:
        for level in range(len(path.levels)):
            payload = execution.encode(path.id, level, execution.crossing(path.id, boundaries))
            work[encode_stage(path.id, level)] = _call(
                _encode, execution, path.id, level, boundaries
            )
            work[decode_stage(path.id, level)] = _call(_decode, execution, path.id, level, payload)
    progress.step("measuring every stage on this machine", len(work))
    stages = {}
    for name, stage in work.items():
        stages[name] = measure(stage)
        progress.advance(1, name)
    return Profile(DEVICE, stages, machine_facts(threads))


def measure(
    stage: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> StageTime:
    """Return median and 95th percentile of the time of `stage` after a warm-up."""
    for _ in range(WARM_UP):
        stage()
    times: list[float] = []
    began = clock()
    while len(times) < REPEATS:
        start = clock()
        stage()
        times.append(clock() - start)
        if len(times) >= MIN_REPEATS and clock() - began > STAGE_SECONDS:
            break
    p50, p95 = np.percentile(times, [50, 95])
    return StageTime(float(p50), float(p95))


def machine_facts(threads: int) -> dict[str, str]:
    """Return what a reader of the figures must know of this machine."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(threads),
        "batch": "1",
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": _version("onnxruntime"),
    }


def _version(distribution: str) -> str:
    """Return the version of a distribution; a Jetson's build of onnxruntime has another name."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "NOT AVAILABLE"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "NOT AVAILABLE"


def _call(function: Callable[..., Any], *arguments: Any) -> Callable[[], object]:
    return lambda: function(*arguments)


def _encode(execution: Execution, path: str, level: int, boundaries: Any) -> object:
    return execution.encode(path, level, execution.crossing(path, boundaries))


def _decode(execution: Execution, path: str, level: int, payloads: Any) -> object:
    return execution.restore(path, execution.decode(path, level, payloads))
