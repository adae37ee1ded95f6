"""What does splitnet itself cost? End-to-end latency minus the stages, at 10,240 random bytes.

An edge and a cloud process answer one request at a time over loopback; segments are the identity,
level 0 sends float32 as it is. The same stages are then run directly in this process, and a bare
DEALER/ROUTER echo of the same size in two processes is the floor.

    python benchmarks/overhead.py --json out/overhead.json

``--curve`` measures end to end once more with keys, in the same run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from curve_keys import key_options
from identity import SHAPE
from results import parser, percentile, report

from splitnet.machines.agent_io import Encode, Encoded, Prepare, RunSegments
from splitnet.machines.worker_io import BatchItem, RunBatch
from splitnet.processes import cloud_process, edge_process
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.worker import WorkerRuntime
from splitnet.values import RequestClass
from splitnet.wire import Infer, size

HERE = Path(__file__).parent
PATH = "head"
TARGET_MS, GOAL_MS, TARGET_HEADER_BYTES = 1.0, 0.4, 48
WARM_UP = 200


def main() -> int:
    """Measure, print and write; the exit code says whether the target is met."""
    options = parser("End-to-end overhead over loopback.")
    options.add_argument("--requests", type=int, default=2000)
    options.add_argument("--curve", action="store_true", help="measure with keys, too")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle, source = build_bundle(Path(folder), chosen.requests)
        edge = _end_to_end(bundle, source)
        keyed = _end_to_end(bundle, source, *key_options(Path(folder))) if chosen.curve else None
        stages_s = _stages_directly(bundle, source, chosen.requests)
    echo_s = _bare_echo(10_240, chosen.requests)
    overhead_ms = edge["p50_ms"] - 1e3 * percentile(stages_s, 50)
    met = overhead_ms <= TARGET_MS and edge["header_bytes"] <= TARGET_HEADER_BYTES
    figures = {
        "payload_bytes": edge["payload_bytes"],
        "requests": edge["answers"],
        "end_to_end_ms": {"p50": edge["p50_ms"], "p95": edge["p95_ms"]},
        "stages_directly_ms": {q: 1e3 * percentile(stages_s, int(q[1:])) for q in ("p50", "p95")},
        "overhead_p50_ms": overhead_ms,
        "bare_echo_ms": {q: 1e3 * percentile(echo_s, int(q[1:])) for q in ("p50", "p95")},
        "infer_header_bytes": edge["header_bytes"],
        "target": {"overhead_ms": TARGET_MS, "goal_ms": GOAL_MS, "header": TARGET_HEADER_BYTES},
        "met": met,
    }
    if keyed is not None:
        figures["curve"] = {
            "end_to_end_ms": {"p50": keyed["p50_ms"], "p95": keyed["p95_ms"]},
            "cost_p50_ms": keyed["p50_ms"] - edge["p50_ms"],
        }
    report("overhead", figures, chosen.json)
    return 0 if met else 1


def build_bundle(folder: Path, requests: int) -> tuple[Path, Path]:
    """Build the identity bundle; return it and a source of random samples."""
    random = np.random.default_rng(0)
    source, bundle = folder / "random.npz", folder / "bundle"
    np.savez(source, x=random.random((WARM_UP + requests, *SHAPE), dtype=np.float32))
    np.savez(folder / "few.npz", x=random.random((60, *SHAPE), dtype=np.float32))
    command = [sys.executable, "-m", "splitnet", "build", "--out", str(bundle), "--json"]
    command += ["--model", f"{HERE / 'identity.py'}:identity", "--data", str(folder / "few.npz")]
    command += ["--cuts", PATH, "--exit-at", "none", "--bottleneck-at", "none"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return bundle, source


def _end_to_end(
    bundle: Path, source: Path, cloud_keys: Sequence[str] = (), edge_keys: Sequence[str] = ()
) -> dict[str, Any]:
    options = ["--source", str(source), "--policy", f"fixed:plan={PATH}@0", "--max-inflight", "1"]
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
        "header_bytes": _infer_header_bytes(),
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


def _bare_echo(nbytes: int, requests: int) -> list[float]:
    """Return the round trip times of a DEALER and an echoing ROUTER in another process."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    echo = context.Process(target=_echo, args=(theirs, WARM_UP + requests), daemon=True)
    echo.start()
    endpoint = ours.recv()
    payload = np.random.default_rng(1).bytes(nbytes)
    durations_s = []
    with zmq.Context() as zmq_context, zmq_context.socket(zmq.DEALER) as dealer:
        dealer.connect(endpoint)
        for _ in range(WARM_UP + requests):
            started_s = time.perf_counter()
            dealer.send(payload)
            dealer.recv()
            durations_s.append(time.perf_counter() - started_s)
    echo.join(timeout=10)
    return durations_s[WARM_UP:]


def _echo(pipe: Connection, messages: int) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        pipe.send(f"tcp://127.0.0.1:{port}")
        for _ in range(messages):
            router.send_multipart(router.recv_multipart())
        router.close(linger=1000)


if __name__ == "__main__":
    sys.exit(main())
