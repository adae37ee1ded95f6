"""How fast 8 KB come back, one at a time and with 64 in flight, over sockets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
import zmq
from curve_keys import BenchKeys
from identity_bundle import PATH
from results import percentile

from splitnet.bundle import Bundle
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

ECHO_BYTES = 8192
WARM_UP = 300
IN_FLIGHT = 64

SESSIONS = 2
"""So that each uses half of its credit, and its renewal never has to be waited for."""

PATIENCE_MS = 20_000

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Client:
    """What sends a request, and what waits for any reply."""

    send: Callable[[], None]
    wait: Callable[[], None]


def measure(client: Client, requests: int) -> Figures:
    """Return the latency of one request at a time, and the throughput with `IN_FLIGHT`."""
    latency_s = []
    for number in range(WARM_UP + requests):
        started_s = time.perf_counter()
        client.send()
        client.wait()
        if number >= WARM_UP:
            latency_s.append(time.perf_counter() - started_s)
    for _ in range(IN_FLIGHT):
        client.send()
    started_s = time.perf_counter()
    for _ in range(requests):
        client.wait()
        client.send()
    per_s = requests / (time.perf_counter() - started_s)
    for _ in range(IN_FLIGHT):
        client.wait()
    return {
        "p50_ms": 1e3 * percentile(latency_s, 50),
        "p95_ms": 1e3 * percentile(latency_s, 95),
        "per_s": per_s,
    }


def median(rounds: list[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: percentile([one[name] for one in rounds], 50) for name in rounds[0]}


@contextmanager
def _dealers(endpoint: str, keys: BenchKeys | None) -> Iterator[list[zmq.Socket[bytes]]]:
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        dealers = [stack.enter_context(context.socket(zmq.DEALER)) for _ in range(SESSIONS)]
        for dealer in dealers:
            dealer.linger = 0
            if keys is not None:
                keys.secure(dealer)
            dealer.connect(endpoint)
        yield dealers


def _over(
    dealers: list[zmq.Socket[bytes]],
    send: Callable[[int], None],
    take: Callable[[list[bytes]], bool],
) -> Client:
    """Return a client that spreads requests over sockets; `take` says whether it is a reply."""
    poller = zmq.Poller()
    for dealer in dealers:
        poller.register(dealer, zmq.POLLIN)
    numbers = {dealer: number for number, dealer in enumerate(dealers)}
    free = deque(number for _ in range(IN_FLIGHT // SESSIONS) for number in range(SESSIONS))

    def wait() -> None:
        while True:
            ready = poller.poll(PATIENCE_MS)
            if not ready:
                raise TimeoutError(f"no answer after {PATIENCE_MS} ms")
            dealer = ready[0][0]
            if take(dealer.recv_multipart()):
                free.append(numbers[dealer])
                return

    return Client(lambda: send(free.popleft()), wait)


@contextmanager
def echo_client(endpoint: str, keys: BenchKeys | None, nbytes: int) -> Iterator[Client]:
    """Yield a client of a socket that sends everything back."""
    payload = np.random.default_rng(1).bytes(nbytes)
    with _dealers(endpoint, keys) as dealers:

        def send(number: int) -> None:
            dealers[number].send(payload)

        yield _over(dealers, send, lambda frames: len(frames[0]) == nbytes)


@contextmanager
def bare_echo(
    requests: int, keys: BenchKeys | None = None, nbytes: int = ECHO_BYTES
) -> Iterator[Callable[[], Figures]]:
    """Yield what measures an echoing ROUTER in another process, the floor of everything."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_echo, args=(theirs, keys), daemon=True)
    process.start()
    try:
        with echo_client(ours.recv(), keys, nbytes) as client:
            yield lambda: measure(client, requests)
    finally:
        process.terminate()
        process.join()


def _echo(pipe: Connection, keys: BenchKeys | None) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        if keys is not None:
            keys.guard(router)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        pipe.send(f"tcp://127.0.0.1:{port}")
        while True:
            router.send_multipart(router.recv_multipart())


def worker_figures(endpoint: str, bundle: Bundle, keys: BenchKeys | None, requests: int) -> Figures:
    """Measure a worker of the bundle ``echo``, in sessions of wire protocol 1."""
    payload = np.random.default_rng(0).random(ECHO_BYTES // 4, dtype=np.float32).tobytes()
    crc = checksum(payload)
    with _dealers(endpoint, keys) as dealers:
        welcomes = [_greet(dealer, bundle) for dealer in dealers]
        last = 0

        def send(number: int) -> None:
            nonlocal last
            last += 1
            handle = welcomes[number].handles[0]
            assert handle is not None
            infer = Infer(
                session=welcomes[number].session, request=last, contract=handle[0], path=handle[1],
                level=0, stop=len(bundle.contract.segments), request_class=RequestClass.LIVE,
                budget_us=0, stamp=0, stream=0, state=0, refinements=1, dims=(), flags=0,
                checksum=crc, payload=payload,
            )  # fmt: skip
            dealers[number].send_multipart(encode(infer))

        return measure(_over(dealers, send, lambda frames: _is_reply(decode(frames))), requests)


def _greet(dealer: zmq.Socket[bytes], bundle: Bundle) -> Welcome:
    path = bundle.contract.path_hash(PATH)
    dealer.send_multipart(encode(Hello((PROTOCOL_VERSION,), (path,), (), 1 << 20, "bench")))
    if not dealer.poll(PATIENCE_MS):
        raise TimeoutError("the worker does not answer")
    welcome = decode(dealer.recv_multipart())
    assert isinstance(welcome, Welcome)
    return welcome


def _is_reply(message: Message) -> bool:
    if isinstance(message, Error):
        raise RuntimeError(message.detail)
    return isinstance(message, Reply)
