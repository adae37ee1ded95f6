"""How long each stage of a bundle takes on this machine, alone and warmed up.

Nothing here imports torch or onnx, so that a device can measure itself.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Execution, inputs_of
from splitnet.bundle import ExitHead, FusedRun
from splitnet.console import Progress
from splitnet.runtime.inputs import Sample, prepare_inputs
from splitnet.values import (
    PREPARE_STAGE,
    Profile,
    StageTime,
    decode_stage,
    encode_stage,
    exit_stage,
    fused_stage,
    segment_stage,
)

if TYPE_CHECKING:
    from splitnet.builder.reference import ReferenceTimer

Array: TypeAlias = NDArray[Any]
Boundaries: TypeAlias = Sequence[Sequence[Array]]

DEVICE = "build machine"
WARM_UP = 5
REPEATS = 50
STAGE_SECONDS = 1.0
"""Bound on the measurement of one stage; a slow stage is repeated less often."""

MIN_REPEATS = 5
REFERENCE_RUNS = 3
"""Runs of the reference network behind each stage."""


@dataclass(frozen=True, slots=True)
class Job:
    """One stage to measure, for `batch` samples at once."""

    stage: str
    batch: int
    run: Callable[[], object]

    @property
    def key(self) -> str:
        """Name of the job: of its stage, and of its batch if that is not one sample."""
        return self.stage if self.batch == 1 else f"{self.stage} x{self.batch}"


def profile_bundle(
    execution: Execution,
    exits: Sequence[ExitHead],
    data: Dataset,
    threads: int,
    progress: Progress,
    fused: Sequence[FusedRun] = (),
) -> Profile:
    """Measure every stage of a bundle with samples of `data`.

    Parameters
    ----------
    execution
        Opened for `threads` threads and batch 1.
    """
    inputs = inputs_of(execution.contract, data, [0])
    jobs = list(single_jobs(execution, exits, fused, inputs, data.sample(0)))
    progress.step("measuring every stage on this machine", len(jobs))
    reference = reference_timer(threads)
    stages = {}
    for job in jobs:
        stages[job.stage] = measure(job.run)
        if reference is not None:
            reference.run(REFERENCE_RUNS)
        progress.advance(1, job.stage)
    reference_s = None if reference is None else reference.time_s
    return Profile(DEVICE, stages, machine_facts(threads), reference_s)


def single_jobs(
    execution: Execution,
    exits: Sequence[ExitHead],
    fused: Sequence[FusedRun],
    inputs: Sequence[Array],
    sample: Sample | None,
) -> Iterator[Job]:
    """Yield every stage of a bundle for one sample.

    Parameters
    ----------
    inputs
        The prepared sample, ``(1, ...)``.
    sample
        The sample as it comes from the source, ``None`` if preprocessing cannot be measured.
    """
    contract = execution.contract
    boundaries = execution.boundaries(inputs)
    if sample is not None:
        run = _call(prepare_inputs, sample, contract.preprocess, contract.inputs)
        yield Job(PREPARE_STAGE, 1, run)
    for index in range(len(contract.segments)):
        yield Job(segment_stage(index), 1, _call(_segment, execution, index, boundaries[index]))
    for part in fused:
        run = _call(execution.run, part.graph, boundaries[part.first])
        yield Job(fused_stage(part.first, part.stop), 1, run)
    for head in exits:
        run = _call(execution.run, head.graph, boundaries[head.boundary])
        yield Job(exit_stage(head.id), 1, run)
    for path in contract.paths:
        crossing = execution.crossing(path.id, boundaries)
        dims = execution.dims(path.id, crossing)
        for level in range(len(path.levels)):
            payloads = execution.encode(path.id, level, crossing)
            to_send = _call(_encode, execution, path.id, level, boundaries)
            yield Job(encode_stage(path.id, level), 1, to_send)
            received = _call(_decode, execution, path.id, level, payloads, dims)
            yield Job(decode_stage(path.id, level), 1, received)


def batch_jobs(
    execution: Execution, inputs: Sequence[Array], batches: Sequence[int]
) -> Iterator[Job]:
    """Yield every segment for several samples at once; a tail is the sum of its segments.

    Parameters
    ----------
    execution
        Opened for any batch.
    """
    for batch in batches:
        stacked = [np.concatenate([array] * batch) for array in inputs]
        boundaries = execution.boundaries(stacked)
        for index in range(len(execution.contract.segments)):
            run = _call(_segment, execution, index, boundaries[index])
            yield Job(segment_stage(index), batch, run)


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


def measure_ratio(
    stage: Callable[[], object],
    other: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return how long `stage` takes as a share of `other`.

    They take turns, so that whatever else the machine does slows both alike: the ratio of their
    medians holds where two measurements one after the other would not.
    """
    runs: tuple[Callable[[], object], ...] = (stage, other)
    times: tuple[list[float], ...] = ([], [])
    for _ in range(WARM_UP):
        for run in runs:
            run()
    began = clock()
    while len(times[0]) < REPEATS:
        for run, taken in zip(runs, times, strict=True):
            start = clock()
            run()
            taken.append(clock() - start)
        if len(times[0]) >= MIN_REPEATS and clock() - began > 2 * STAGE_SECONDS:
            break
    first, second = (float(np.median(taken)) for taken in times)
    return first / second


def reference_timer(threads: int) -> ReferenceTimer | None:
    """Return what times the reference network of device classes, ``None`` without onnx."""
    if find_spec("onnx") is None:
        return None
    from splitnet.builder.reference import ReferenceTimer

    return ReferenceTimer(threads)


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


def _segment(execution: Execution, index: int, tensors: Sequence[Array]) -> object:
    """Run a segment, and with the last one the postprocess graph, as both sides do."""
    outputs = execution.run(execution.contract.segments[index].graph, tensors)
    last = index == len(execution.contract.segments) - 1
    return execution.answer(outputs) if last else outputs


def _encode(execution: Execution, path: str, level: int, boundaries: Boundaries) -> object:
    return execution.encode(path, level, execution.crossing(path, boundaries))


def _decode(
    execution: Execution, path: str, level: int, payloads: Sequence[bytes], dims: Sequence[int]
) -> object:
    return execution.restore(path, execution.decode(path, level, payloads, dims))
