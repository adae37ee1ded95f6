"""A worker in a thread, and devices that speak to it over a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from splitnet.bundle import Bundle
from splitnet.cloud.worker import LAST_WORDS_S, CloudWorker
from splitnet.machines.worker import WorkerConfig, WorkerMachine
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.payloads import encode_tensors
from splitnet.runtime.preprocess import prepare
from splitnet.runtime.worker import WorkerRuntime
from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router
from splitnet.values import RequestClass
from splitnet.wire import (
    PROTOCOL_VERSION,
    Hello,
    Infer,
    Message,
    Welcome,
    checksum,
    decode,
    encode,
)

M = TypeVar("M")

PATIENCE_S = 5.0
CHUNK_BYTES = 100_000
QUEUE_BYTES = 100_000
HEARTBEAT_S = 0.2
SAMPLE = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)


@dataclass
class Served:
    """A worker that runs in a thread."""

    worker: CloudWorker
    machine: WorkerMachine
    endpoint: str
    thread: threading.Thread


@pytest.fixture(scope="module")
def bundle(sample_directory: Path) -> Bundle:
    return open_bundle(sample_directory)


@pytest.fixture
def served(sample_directory: Path, bundle: Bundle) -> Iterator[Served]:
    reactor = Reactor()
    router = Router(
        reactor, "tcp://127.0.0.1:*", max_message_bytes=CHUNK_BYTES, queue_bytes=QUEUE_BYTES
    )
    config = WorkerConfig(max_chunk_bytes=CHUNK_BYTES, heartbeat_s=HEARTBEAT_S)
    machine = WorkerMachine({1: bundle.contract}, config, epoch=5)
    runtime = WorkerRuntime(sample_directory, bundle)
    opened, ended = threading.Event(), threading.Event()

    def work() -> None:
        router.open()
        opened.set()
        try:
            worker.run()
            ended.set()
        finally:
            router.close(LAST_WORDS_S)
            reactor.close()

    worker = CloudWorker(machine, {1: runtime}, reactor, router)
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    assert opened.wait(PATIENCE_S)
    yield Served(worker, machine, router.endpoint, thread)
    if thread.is_alive():
        worker.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert ended.is_set(), "the worker ended by an error"
    assert [t.name for t in threading.enumerate() if t.name.startswith("splitnet")] == []


class Device:
    """The other end, message by message."""

    def __init__(self, reactor: Reactor, endpoint: str) -> None:
        self._reactor = reactor
        self.dealer = Dealer(
            reactor, endpoint, max_message_bytes=1 << 20, queue_bytes=1 << 20, connect_s=1.0
        )
        self.dealer.open()
        self._up = False
        self.down = ""
        self._messages: list[Message] = []
        self.until(lambda: self._up)

    def until(self, condition: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, f"waited in vain, got {self._messages}"
            self._reactor.wait(0.02)
            for event in self.dealer.events():
                if isinstance(event, Up):
                    self._up = True
                elif isinstance(event, Down):
                    self.down = event.reason
                else:
                    self._messages.append(decode(event))

    def send(self, message: Message) -> None:
        self.dealer.send(encode(message))

    def receive(self, kind: type[M]) -> M:
        """Wait for a message of a kind; others stay."""
        self.until(lambda: any(isinstance(m, kind) for m in self._messages))
        found = next(m for m in self._messages if isinstance(m, kind))
        self._messages.remove(found)
        return found

    def greet(self, bundle: Bundle) -> Welcome:
        self.send(hello(bundle))
        return self.receive(Welcome)


def hello(bundle: Bundle) -> Hello:
    paths = tuple(bundle.contract.path_hash(path.id) for path in bundle.contract.paths)
    return Hello((PROTOCOL_VERSION,), paths, (), 1 << 20, "test")


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    yield reactor
    reactor.close()


@contextmanager
def device(reactor: Reactor, served: Served) -> Iterator[Device]:
    device = Device(reactor, served.endpoint)
    try:
        yield device
    finally:
        device.dealer.close()


def infer(bundle: Bundle, welcome: Welcome, request: int, path: str, level: int = 0) -> Infer:
    contract = bundle.contract
    tensors = [prepare(SAMPLE, contract.preprocess)]
    assert path == "input"
    payload = encode_tensors(contract.path(path).levels[level].codecs[0], tensors)
    number = [p.id for p in contract.paths].index(path)
    handle = welcome.handles[number]
    assert handle is not None
    return Infer(
        session=welcome.session,
        request=request,
        contract=handle[0],
        path=handle[1],
        level=level,
        stop=len(contract.segments),
        request_class=RequestClass.LIVE,
        budget_us=0,
        stamp=1,
        stream=0,
        state=0,
        refinements=1,
        dims=(),
        flags=0,
        checksum=checksum(payload),
        payload=payload,
    )
