"""What does splitnet itself cost, and what would Ray Serve's own paths cost? Over loopback.

An edge and a cloud process answer one request of 10,240 random bytes at a time; segments are the
identity, level 0 sends float32 as it is. The same stages are then run directly in this process:
the difference is the overhead. Then 8 KB are echoed by a bare ROUTER and by a worker that is
spoken to directly: one at a time, and with 64 in flight.

    python benchmarks/overhead.py --json out/overhead.json

``--curve`` measures all of it once more with keys. ``--ray`` adds the same worker in a replica of
Ray Serve, in turn with the one in a process, and Serve's own paths (extra ray). Bundles are built
unless ``--bundles`` names a folder that has them (`identity_bundle.py`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from curve_keys import BenchKeys, new_keys
from echo_clients import ECHO_BYTES, IN_FLIGHT, Figures, bare_echo, median, worker_figures
from identity_bundle import PATH, open_bundle_of, write_samples
from results import parser, percentile, report

from splitnet.machines.agent_io import Encode, Encoded, Prepare, RunSegments
from splitnet.machines.worker_io import BatchItem, RunBatch
from splitnet.processes import cloud_process, edge_process
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.worker import WorkerRuntime
from splitnet.values import RequestClass
from splitnet.wire import Infer, size

TARGET_MS, GOAL_MS, TARGET_HEADER_BYTES = 1.0, 0.4, 48
TARGET_RAY_RATIO, TARGET_HANDLE_RATIO = 1.3, 20.0
WARM_UP = 200

REPLICA_PORTS = "tcp://127.0.0.1:5600-5699"
ECHO, WORKER, REPLICA = "bare echo", "worker in a process", "worker in a replica"
IN_REPLICA, HANDLE = "socket in the replica", "Serve handle"


def main() -> int:
    """Measure, print and write; the exit code says whether the targets are met."""
    chosen = _options().parse_args()
    with_ray = chosen.ray and find_spec("ray") is not None
    if chosen.ray and not with_ray:
        sys.stderr.write("no rows of Ray: it is not installed; pip install 'splitnet[ray]'\n")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        keys = new_keys(work) if chosen.curve else None
        figures = _overhead(chosen, work, keys)
        rows = _echoes(chosen, work, None, with_ray)
        keyed = _echoes(chosen, work, keys, with_ray) if keys else {}
    if with_ray:
        from serve_paths import RAY_VERSION, serve_paths

        rows |= serve_paths(chosen.requests)
        figures["ray"] = _ray_figures(rows) | {"version": RAY_VERSION}
    figures["echo"] = {"bytes": ECHO_BYTES, "in_flight": IN_FLIGHT, "plain": rows, "curve": keyed}
    figures["met"] = figures["met"] and (not with_ray or figures["ray"]["met"])
    sys.stderr.write(_table(rows, keyed))
    report("overhead", figures, chosen.json)
    return 0 if figures["met"] else 1


def _options() -> argparse.ArgumentParser:
    options = parser("What splitnet costs over loopback.")
    options.add_argument("--requests", type=int, default=2000)
    options.add_argument("--curve", action="store_true", help="measure with keys, too")
    options.add_argument("--ray", action="store_true", help="measure Ray Serve, too (extra ray)")
    options.add_argument("--rounds", type=int, default=3, help="of the echo, each row in turn")
    options.add_argument("--bundles", type=Path, help="folder of identity_bundle.py")
    return options


# --- end to end ---------------------------------------------------------------------------------


def _overhead(chosen: argparse.Namespace, work: Path, keys: BenchKeys | None) -> dict[str, Any]:
    bundle = open_bundle_of("identity", chosen.bundles or work)
    source = write_samples(work / "source.npz", WARM_UP + chosen.requests, "identity")
    plain = _end_to_end(bundle, source, None)
    stages_s = _stages_directly(bundle, source, chosen.requests)
    overhead_ms = plain["p50_ms"] - 1e3 * percentile(stages_s, 50)
    header_bytes = _infer_header_bytes()
    figures = {
        "payload_bytes": plain["payload_bytes"],
        "requests": plain["answers"],
        "end_to_end_ms": {"p50": plain["p50_ms"], "p95": plain["p95_ms"]},
        "stages_directly_ms": {q: 1e3 * percentile(stages_s, int(q[1:])) for q in ("p50", "p95")},
        "overhead_p50_ms": overhead_ms,
        "infer_header_bytes": header_bytes,
        "target": {"overhead_ms": TARGET_MS, "goal_ms": GOAL_MS, "header": TARGET_HEADER_BYTES},
        "met": overhead_ms <= TARGET_MS and header_bytes <= TARGET_HEADER_BYTES,
    }
    if keys is not None:
        keyed = _end_to_end(bundle, source, keys)
        figures["curve"] = {
            "end_to_end_ms": {"p50": keyed["p50_ms"], "p95": keyed["p95_ms"]},
            "cost_p50_ms": keyed["p50_ms"] - plain["p50_ms"],
        }
    return figures


def _end_to_end(bundle: Path, source: Path, keys: BenchKeys | None) -> dict[str, Any]:
    options = ["--source", str(source), "--policy", f"fixed:plan={PATH}@0", "--max-inflight", "1"]
    cloud_keys, edge_keys = ((), ()) if keys is None else (keys.cloud, keys.edge)
    with (
        cloud_process(bundle, *cloud_keys) as cloud,
        edge_process(bundle, cloud.endpoint, *options, *edge_keys) as edge,
    ):
        answers = [a for a in edge.answers() if a["answered_by"] == "cloud"][WARM_UP:]
    latency_ms = [answer["latency_ms"] for answer in answers]
    return {
        "answers": len(answers),
        "payload_bytes": answers[0]["uplink_bytes"],
        "p50_ms": percentile(latency_ms, 50),
        "p95_ms": percentile(latency_ms, 95),
    }


def _infer_header_bytes() -> int:
    """Return the prefix and array of an infer with the numbers of a long-lived session."""
    big = 2**32 - 1
    infer = Infer(
        session=big, request=big, contract=1, path=3, level=1, stop=17,
        request_class=RequestClass.LIVE, budget_us=big, stamp=big, stream=0, state=0,
        refinements=1, dims=(), flags=0, checksum=big, payload=b"",
    )  # fmt: skip
    return size(infer)


def _stages_directly(bundle_directory: Path, source: Path, requests: int) -> list[float]:
    """Run what both processes compute, one call after the other; return seconds a request."""
    bundle = open_bundle(bundle_directory)
    device = DeviceRuntime(bundle_directory, bundle)
    worker = WorkerRuntime(bundle_directory, bundle)
    hop = bundle.contract.path(PATH).hops[0]
    samples = np.load(source)["x"]
    durations_s = []
    for request in range(WARM_UP + requests):
        load = partial(np.asarray, samples[request])
        started_s = time.perf_counter()
        device.start(request, load)
        device.run(request, Prepare())
        device.run(request, RunSegments(0, hop.boundary))
        encoded = device.run(request, Encode(PATH, 0))
        assert isinstance(encoded, Encoded)
        items = (BatchItem(PATH, 0, encoded.payload),)
        stop = len(bundle.contract.segments)
        _, _, results = worker.run(RunBatch(request, 0, hop.entry, stop, items))
        reply = results[0].payload
        assert reply is not None
        device.decode_reply(reply, results[0].dims)
        durations_s.append(time.perf_counter() - started_s)
        device.release(request)
    return durations_s[WARM_UP:]


# --- the echo -----------------------------------------------------------------------------------


def _echoes(
    chosen: argparse.Namespace, work: Path, keys: BenchKeys | None, with_ray: bool
) -> dict[str, Figures]:
    """Measure the rows in turn while all of them run; return the median of each one's rounds."""
    directory = open_bundle_of("echo", chosen.bundles or work)
    bundle, options = open_bundle(directory), () if keys is None else keys.cloud
    with ExitStack() as stack:
        echo = stack.enter_context(bare_echo(chosen.requests, keys))
        measured: dict[str, Callable[[], Figures]] = {ECHO: echo}

        def add(row: str, *more: str, **bind: str) -> None:
            cloud = stack.enter_context(cloud_process(directory, *options, *more, **bind))
            measured[row] = partial(worker_figures, cloud.endpoint, bundle, keys, chosen.requests)

        add(WORKER)
        if with_ray:
            add(REPLICA, "--ray", bind=REPLICA_PORTS)
        rounds = [
            {row: figures() for row, figures in measured.items()} for _ in range(chosen.rounds)
        ]
    return {row: median([one[row] for one in rounds]) for row in measured}


def _ray_figures(rows: dict[str, Figures]) -> dict[str, Any]:
    alone, hosted, handle = rows[WORKER], rows[REPLICA], rows[HANDLE]
    p50_ratio = hosted["p50_ms"] / alone["p50_ms"]
    rate_ratio = alone["per_s"] / hosted["per_s"]
    handle_ratio = rows[IN_REPLICA]["per_s"] / handle["per_s"]
    return {
        "p50_ratio": p50_ratio,
        "throughput_ratio": rate_ratio,
        "socket_over_handle_throughput": handle_ratio,
        "worker_over_handle_throughput": hosted["per_s"] / handle["per_s"],
        "target": {"ratio": TARGET_RAY_RATIO, "over_handle": TARGET_HANDLE_RATIO},
        "met": max(p50_ratio, rate_ratio) <= TARGET_RAY_RATIO
        and handle_ratio >= TARGET_HANDLE_RATIO,
    }


def _table(rows: dict[str, Figures], keyed: dict[str, Figures]) -> str:
    """Return the rows as text, with keys behind those without."""
    lines = [f"{'8 KB echo':24}{'p50 ms':>10}{f'/s, {IN_FLIGHT} in flight':>20}"]
    lines[0] += f"{'CURVE p50 ms':>16}{'CURVE /s':>12}" if keyed else ""
    for row, plain in rows.items():
        line = f"{row:24}{plain['p50_ms']:>10.2f}{plain['per_s']:>20,.0f}"
        if row in keyed:
            line += f"{keyed[row]['p50_ms']:>16.2f}{keyed[row]['per_s']:>12,.0f}"
        lines.append(line)
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
