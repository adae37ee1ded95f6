"""The paths of Ray Serve that splitnet does not take: 8 KB through its handle and over HTTP.

Beside them an echo over a ROUTER socket that a replica opens itself. Needs the extra ray.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import numpy as np
import ray
import zmq
from echo_clients import ECHO_BYTES, IN_FLIGHT, Client, Figures, echo_client, measure
from ray import serve
from results import percentile

RAY_VERSION = ray.__version__

MIN_REQUESTS, SHARE = 500, 5
"""Serve's own paths are so slow that a fifth of the requests is enough."""


class Echo:
    """A replica that echoes: through its handle, over HTTP, and over a ROUTER of its own."""

    def __init__(self) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._port = self._router.bind_to_random_port("tcp://127.0.0.1")
        threading.Thread(target=self._serve, daemon=True).start()

    async def __call__(self, request: Any) -> bytes:
        """Return the body of an HTTP request."""
        body: bytes = await request.body()
        return body

    def echo(self, payload: bytes) -> bytes:
        """Return the payload."""
        return payload

    def endpoint(self) -> str:
        """Return where the socket is."""
        return f"tcp://127.0.0.1:{self._port}"

    def _serve(self) -> None:
        while True:
            self._router.send_multipart(self._router.recv_multipart())


def serve_paths(requests: int) -> dict[str, Figures]:
    """Return the figures of each path."""
    payload = np.random.default_rng(1).bytes(ECHO_BYTES)
    few = max(MIN_REQUESTS, requests // SHARE)
    port = _free_port()
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        deployed = serve.deployment(Echo, max_ongoing_requests=2 * IN_FLIGHT).bind()
        handle = serve.run(deployed, name="echo", route_prefix="/")
        with echo_client(handle.endpoint.remote().result(), None, ECHO_BYTES) as client:
            in_replica = measure(client, requests)
        return {
            "socket in the replica": in_replica,
            "Serve handle": measure(_handle_client(handle, payload), few),
            "Serve HTTP": _measure_http(port, payload, few),
        }
    finally:
        serve.shutdown()
        ray.shutdown()


def _handle_client(handle: Any, payload: bytes) -> Client:
    waiting: deque[Any] = deque()

    def wait() -> None:
        assert len(waiting.popleft().result()) == ECHO_BYTES

    return Client(lambda: waiting.append(handle.echo.remote(payload)), wait)


def _measure_http(port: int, payload: bytes, requests: int) -> Figures:
    """Measure as `measure` does, with a connection and a thread for each request in flight."""
    latency_s = _post(port, payload, requests)
    each = requests // IN_FLIGHT + 1
    threads = [threading.Thread(target=_post, args=(port, payload, each)) for _ in range(IN_FLIGHT)]
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "p50_ms": 1e3 * percentile(latency_s, 50),
        "p95_ms": 1e3 * percentile(latency_s, 95),
        "per_s": each * IN_FLIGHT / (time.perf_counter() - started_s),
    }


def _post(port: int, payload: bytes, requests: int) -> list[float]:
    connection = HTTPConnection("127.0.0.1", port)
    return [_timed(lambda: _exchange(connection, payload)) for _ in range(requests)]


def _exchange(connection: HTTPConnection, payload: bytes) -> None:
    connection.request("POST", "/", payload)
    assert len(connection.getresponse().read()) == ECHO_BYTES


def _timed(work: Callable[[], None]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
