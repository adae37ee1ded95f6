"""Devices to predict: ways in which this machine can run a segment, each with costs of its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

Feed: TypeAlias = dict[str, NDArray[Any]]
Times: TypeAlias = NDArray[np.float64]
"""Seconds by round and segment, ``(R, S)``."""

QUOTA_BLOCK_S = 0.02
"""Under a quota a segment is repeated this long in each round, so that its periods average out."""

QUOTA_PERIOD_US, QUOTA_US = 2000, 1000
"""Half a core, with the shortest quota that the kernel takes: a small processor has no pauses."""

COPY = "import numpy as np\na = np.zeros(8_000_000)\nb = a.copy()\nwhile True:\n    b[:] = a\n"
"""Copies 64 MB over and over: it takes a core's time, its cache and memory bandwidth."""


@dataclass(frozen=True, slots=True)
class Device:
    """A way to run segments.

    Attributes
    ----------
    level
        Optimisation by onnxruntime; below the highest one it takes other kernels.
    around
        What goes on meanwhile, as a context.
    block_s
        How long to repeat a segment for one time; 0 stands for a single run.
    """

    threads: int = 1
    level: str = "ORT_ENABLE_ALL"
    int8: bool = False
    around: Callable[[], Any] | None = None
    block_s: float = 0.0


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives one sample to the quantiser."""

    def __init__(self, feed: Feed) -> None:
        self._feeds = [feed]

    def get_next(self) -> Feed | None:
        """Return the next sample."""
        return self._feeds.pop() if self._feeds else None


@contextmanager
def contention() -> Iterator[None]:
    """Run a copying process for each core."""
    command = [sys.executable, "-c", COPY]
    hogs = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(1.0)
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@contextmanager
def quota() -> Iterator[None]:
    """Give this process half a core (raises `OSError` where that is not allowed)."""
    parent = Path("/sys/fs/cgroup/cpu")
    if not parent.is_dir():
        raise OSError("no cgroup controller 'cpu' of version 1")
    group = parent / f"splitnet-prediction-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text(str(QUOTA_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (parent / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


REFERENCE = "1 thread"

DEVICES: Mapping[str, Device] = {
    REFERENCE: Device(),
    "2 threads": Device(threads=2),
    "half a core": Device(around=quota, block_s=QUOTA_BLOCK_S),
    "contention": Device(around=contention),
    "generic kernels": Device(level="ORT_ENABLE_BASIC"),
    "int8": Device(int8=True),
}


def measure_device(
    device: Device, files: Sequence[Path], feeds: Sequence[Feed], rounds: int
) -> Times:
    """Return what each segment takes on a device, round by round."""
    if device.int8:
        files = [_quantised(file, feed) for file, feed in zip(files, feeds, strict=True)]
    sessions = [open_session(file, device) for file in files]
    if device.around is None:
        return _time(sessions, feeds, rounds, device.block_s)
    with device.around():
        return _time(sessions, feeds, rounds, device.block_s)


def open_session(file: Path, device: Device) -> onnxruntime.InferenceSession:
    """Return a session as the product opens it, but for what makes the device."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, device.level)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_free_dimension_override_by_name("N", 1)
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _time(
    sessions: Sequence[onnxruntime.InferenceSession],
    feeds: Sequence[Feed],
    rounds: int,
    block_s: float,
) -> Times:
    pairs = list(zip(sessions, feeds, strict=True))
    runs = [max(1, round(block_s / max(_block(s, f, 3), 1e-6))) for s, f in pairs]
    return np.array(
        [
            [_block(s, f, count) for (s, f), count in zip(pairs, runs, strict=True)]
            for _ in range(rounds)
        ]
    )


def _block(session: onnxruntime.InferenceSession, feed: Feed, runs: int) -> float:
    """Return the time of one run, from several and after one that warms the caches."""
    session.run(None, feed)
    began_s = time.perf_counter()
    for _ in range(runs):
        session.run(None, feed)
    return (time.perf_counter() - began_s) / runs


def _quantised(file: Path, feed: Feed) -> Path:
    logging.disable(logging.WARNING)
    out = file.with_suffix(".int8.onnx")
    quantize_static(
        str(file),
        str(out),
        _Reader(feed),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return out
