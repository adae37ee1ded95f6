"""How small and how quick to start is an edge process? Peak memory, and exec to first answer.

The baseline in the same run is a process that only imports the libraries and runs the bundle's
first segment once.

    python benchmarks/edge_footprint.py --bundle out/demo/bundle --source out/demo/pages.npz
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from results import parser, percentile, report

from splitnet.processes import cloud_process

TARGET_MIB, TARGET_S = 100.0, 0.8

LIBRARIES_ALONE = """
import sys, msgpack, numpy, onnxruntime, zmq
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
shape = [d if isinstance(d, int) else 1 for d in given.shape]
session.run(None, {given.name: numpy.zeros(shape, numpy.float32)})
print("ready", flush=True)
"""


def main() -> int:
    """Measure, print and write; the exit code says whether both targets are met."""
    options = parser("Peak memory and start-up time of an edge process.")
    options.add_argument("--bundle", type=Path, default=Path("out/demo/bundle"))
    options.add_argument("--source", type=Path, default=Path("out/demo/pages.npz"))
    options.add_argument("--runs", type=int, default=7)
    chosen = options.parse_args()
    if not chosen.bundle.is_dir():
        print(f"{chosen.bundle} is not there: run `make demo` first", file=sys.stderr)
        return 2
    run = ["--source", str(chosen.source), "--limit", "50", "--policy", "fixed:plan=bottleneck@1"]
    with cloud_process(chosen.bundle) as cloud:
        edge_command = [sys.executable, "-m", "splitnet", "edge", "run"]
        edge_command += ["--bundle", str(chosen.bundle), "--connect", cloud.endpoint, *run]
        edge = [_measure(edge_command) for _ in range(chosen.runs)]
    segment = str(chosen.bundle / "segment-0.onnx")
    libraries = [sys.executable, "-c", LIBRARIES_ALONE, segment]
    alone = [_measure(libraries) for _ in range(chosen.runs)]
    figures = {
        "edge": _figures(edge),
        "libraries_alone": _figures(alone),
        "target": {"peak_mib": TARGET_MIB, "first_answer_s": TARGET_S},
    }
    met = (
        figures["edge"]["peak_mib_max"] <= TARGET_MIB
        and figures["edge"]["first_answer_s_p50"] <= TARGET_S
    )
    report("edge_footprint", {**figures, "met": met}, chosen.json)
    return 0 if met else 1


def _measure(command: list[str]) -> tuple[float, float]:
    """Return seconds from exec to the first line of output, and peak resident MiB."""
    started_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        first_s = time.perf_counter() - started_s
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if not line or process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}")
    return first_s, usage.ru_maxrss / 1024


def _figures(runs: list[tuple[float, float]]) -> dict[str, float]:
    first_s, peak_mib = zip(*runs, strict=True)
    return {
        "first_answer_s_p50": percentile(first_s, 50),
        "first_answer_s_max": max(first_s),
        "peak_mib_p50": percentile(peak_mib, 50),
        "peak_mib_max": max(peak_mib),
    }


if __name__ == "__main__":
    sys.exit(main())
