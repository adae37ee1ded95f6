"""What does Ray cost? The same worker in one process and in a Serve replica, and Serve's own path.

A client speaks wire protocol 1 over loopback and sends 10,240 bytes for the identity's tail: one
request at a time for the latency, 32 in flight for the throughput. Beside it an echo of 8 KB, over
a ROUTER socket that a replica opens itself and through Serve's DeploymentHandle.

    python benchmarks/ray_overhead.py --json out/ray_overhead.json

Needs the extras ray and build; a bundle of the identity that was built before (--bundle) needs only
the former.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
import zmq
from ray import serve
from results import parser, percentile, report

from splitnet.bundle import Bundle
from splitnet.processes import cloud_process
from splitnet.runtime.directory import open_bundle
from splitnet.values import RequestClass
from splitnet.wire import (
    PROTOCOL_VERSION,
    Error,
    Hello,
    Infer,
    Message,
    Reply,
    Welcome,
    checksum,
    decode,
    encode,
)

PATH = "head"
WARM_UP = 300
IN_FLIGHT = 32
"""Half of a session's credit, so that its renewal never has to be waited for."""

ECHO_BYTES = 8192
PATIENCE_MS = 20_000
TARGET_RATIO, TARGET_ECHO_RATIO = 1.3, 20.0
PORTS = "tcp://127.0.0.1:5600-5699"


def main() -> int:
    """Measure, print and write; the exit code says whether the targets are met."""
    options = parser("What hosting the worker on Ray Serve costs.")
    options.add_argument("--requests", type=int, default=5000)
    options.add_argument("--rounds", type=int, default=3, help="one process and Ray in turn")
    options.add_argument("--bundle", type=Path, help="an identity bundle built before")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = chosen.bundle or _build(Path(folder))
        one_process, hosted = _both_workers(directory, chosen.requests, chosen.rounds)
    in_replica, handle = _echoes(chosen.requests)
    p50_ratio = hosted["p50_ms"] / one_process["p50_ms"]
    rate_ratio = one_process["per_s"] / hosted["per_s"]
    figures = {
        "requests": chosen.requests,
        "rounds": chosen.rounds,
        "worker_one_process": one_process,
        "worker_on_ray": hosted,
        "p50_ratio": p50_ratio,
        "throughput_ratio": rate_ratio,
        "echo_socket_in_replica": in_replica,
        "echo_deployment_handle": handle,
        "echo_throughput_ratio": in_replica["per_s"] / handle["per_s"],
        "worker_over_handle_throughput": hosted["per_s"] / handle["per_s"],
        "target": {"ratio": TARGET_RATIO, "echo_ratio": TARGET_ECHO_RATIO},
        "ray": ray.__version__,
    }
    met = max(p50_ratio, rate_ratio) <= TARGET_RATIO
    figures["met"] = met and figures["echo_throughput_ratio"] >= TARGET_ECHO_RATIO
    report("ray_overhead", figures, chosen.json)
    return 0 if figures["met"] else 1


def _build(folder: Path) -> Path:
    """Build the identity bundle, which needs torch."""
    from overhead import build_bundle

    return build_bundle(folder, requests=1)[0]


# --- the worker ---------------------------------------------------------------------------------


def _both_workers(
    directory: Path, requests: int, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure both workers in turn while both run; return the median of the rounds of each."""
    bundle = open_bundle(directory)
    with (
        cloud_process(directory) as alone,
        cloud_process(directory, "--ray", bind=PORTS) as on_ray,
    ):
        found: dict[str, list[dict[str, float]]] = {alone.endpoint: [], on_ray.endpoint: []}
        for _ in range(rounds):
            for endpoint, measured in found.items():
                with _client(endpoint, bundle) as exchange:
                    measured.append(_measure(exchange, requests))
    return _median(found[alone.endpoint]), _median(found[on_ray.endpoint])


def _median(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: percentile([one[name] for one in rounds], 50) for name in rounds[0]}


Exchange = Callable[[int, int], list[float]]
"""Sends this many requests with that many in flight; returns the latency of each."""


def _measure(exchange: Exchange, requests: int) -> dict[str, float]:
    exchange(WARM_UP, 1)
    latency_s = exchange(requests, 1)
    exchange(WARM_UP, IN_FLIGHT)
    started_s = time.perf_counter()
    exchange(requests, IN_FLIGHT)
    return {
        "p50_ms": 1e3 * percentile(latency_s, 50),
        "p95_ms": 1e3 * percentile(latency_s, 95),
        "per_s": requests / (time.perf_counter() - started_s),
    }


@contextmanager
def _client(endpoint: str, bundle: Bundle) -> Iterator[Exchange]:
    """Open a session; yield what exchanges requests in it."""
    payload = np.random.default_rng(0).random(2560, dtype=np.float32).tobytes()
    crc = checksum(payload)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint)

        def receive() -> Message:
            if not dealer.poll(PATIENCE_MS):
                raise TimeoutError(f"{endpoint} does not answer")
            return decode(dealer.recv_multipart())

        path = bundle.contract.path_hash(PATH)
        dealer.send_multipart(encode(Hello((PROTOCOL_VERSION,), (path,), (), 1 << 20, "bench")))
        welcome = receive()
        assert isinstance(welcome, Welcome) and welcome.handles[0] is not None
        session, (contract, number) = welcome.session, welcome.handles[0]
        last = 0

        def send() -> int:
            nonlocal last
            last += 1
            infer = Infer(
                session=session, request=last, contract=contract, path=number, level=0,
                stop=len(bundle.contract.segments), request_class=RequestClass.LIVE, budget_us=0,
                stamp=0, stream=0, state=0, refinements=1, dims=(), flags=0, checksum=crc,
                payload=payload,
            )  # fmt: skip
            dealer.send_multipart(encode(infer))
            return last

        def wait() -> int:
            while not isinstance(message := receive(), Reply):
                if isinstance(message, Error):
                    raise RuntimeError(message.detail)
            return message.request

        yield lambda count, in_flight: _exchange(send, wait, count, in_flight)


def _exchange(
    send: Callable[[], int], wait: Callable[[], int], count: int, in_flight: int
) -> list[float]:
    sent_s: dict[int, float] = {}
    latency_s = []
    for n in range(count + in_flight):
        if n >= in_flight or n >= count:
            if not sent_s:
                break
            done = wait()
            latency_s.append(time.perf_counter() - sent_s.pop(done))
        if n < count:
            started_s = time.perf_counter()
            sent_s[send()] = started_s
    return latency_s


# --- the echo -----------------------------------------------------------------------------------


class Echo:
    """A replica that echoes, through its handle and over a ROUTER socket of its own."""

    def __init__(self) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._port = self._router.bind_to_random_port("tcp://127.0.0.1")
        threading.Thread(target=self._serve, daemon=True).start()

    def __call__(self, payload: bytes) -> bytes:
        """Return the payload."""
        return payload

    def endpoint(self) -> str:
        """Return where the socket is."""
        return f"tcp://127.0.0.1:{self._port}"

    def _serve(self) -> None:
        while True:
            self._router.send_multipart(self._router.recv_multipart())


def _echoes(requests: int) -> tuple[dict[str, float], dict[str, float]]:
    payload = np.random.default_rng(1).bytes(ECHO_BYTES)
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    try:
        serve.start(proxy_location="Disabled")
        limits = {"max_ongoing_requests": 2 * IN_FLIGHT}
        deployed = serve.deployment(Echo, **limits).bind()
        handle = serve.run(deployed, name="echo", route_prefix=None)
        in_replica = _measure_socket(handle.endpoint.remote().result(), payload, requests)
        waiting: deque[tuple[int, Any]] = deque()
        numbers = iter(range(sys.maxsize))

        def send() -> int:
            waiting.append((next(numbers), handle.remote(payload)))
            return waiting[-1][0]

        def wait() -> int:
            number, response = waiting.popleft()
            assert len(response.result()) == ECHO_BYTES
            return number

        by_handle = _measure(lambda n, k: _exchange(send, wait, n, k), max(500, requests // 5))
    finally:
        serve.shutdown()
        ray.shutdown()
    return in_replica, by_handle


def _measure_socket(endpoint: str, payload: bytes, requests: int) -> dict[str, float]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint)
        numbers: deque[int] = deque()
        counter = iter(range(sys.maxsize))

        def send() -> int:
            numbers.append(next(counter))
            dealer.send(payload)
            return numbers[-1]

        def wait() -> int:
            assert len(dealer.recv()) == ECHO_BYTES
            return numbers.popleft()

        return _measure(lambda n, k: _exchange(send, wait, n, k), requests)


if __name__ == "__main__":
    sys.exit(main())
