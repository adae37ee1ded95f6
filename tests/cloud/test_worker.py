"""A worker in a thread, spoken to over a real socket by devices good and bad."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from splitnet.bundle import Bundle
from splitnet.cloud.log_limit import INTERVAL_S
from splitnet.cloud.worker import LAST_WORDS_S, CloudWorker
from splitnet.errors import WireCode
from splitnet.machines.worker import WorkerConfig, WorkerMachine
from splitnet.runtime.answers import labels
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.payloads import decode_tensors, encode_tensors
from splitnet.runtime.preprocess import prepare
from splitnet.runtime.sessions import Graph
from splitnet.runtime.worker import WorkerRuntime
from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router
from splitnet.values import RequestClass
from splitnet.wire import (
    PROTOCOL_VERSION,
    Bye,
    Error,
    Hello,
    Infer,
    Message,
    Ping,
    Pong,
    Reply,
    Welcome,
    checksum,
    decode,
    encode,
)

M = TypeVar("M")

PATIENCE_S = 5.0
CHUNK_BYTES = 100_000
SAMPLE = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)


@dataclass
class Served:
    """A worker that runs in a thread."""

    worker: CloudWorker
    endpoint: str
    thread: threading.Thread


@pytest.fixture(scope="module")
def bundle(sample_directory: Path) -> Bundle:
    return open_bundle(sample_directory)


@pytest.fixture
def served(sample_directory: Path, bundle: Bundle) -> Iterator[Served]:
    reactor = Reactor()
    router = Router(
        reactor, "tcp://127.0.0.1:*", max_message_bytes=CHUNK_BYTES, queue_bytes=1_000_000
    )
    config = WorkerConfig(max_chunk_bytes=CHUNK_BYTES, heartbeat_s=0.2)
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
    yield Served(worker, router.endpoint, thread)
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


def test_a_request_is_answered_with_the_whole_model_s_labels(
    served: Served, reactor: Reactor, bundle: Bundle, sample_directory: Path
) -> None:
    whole = Graph(sample_directory / "whole.onnx")
    truth = labels(whole.run([prepare(SAMPLE, bundle.contract.preprocess)])[0])
    with device(reactor, served) as edge:
        welcome = edge.greet(bundle)
        for level in (0, 1):
            edge.send(infer(bundle, welcome, 1 + level, "input", level))
            reply = edge.receive(Reply)
            assert (reply.request, reply.final, reply.stamp) == (1 + level, True, 1)
            assert not isinstance(reply.payload, int)
            contract = bundle.contract
            assert isinstance(reply.payload, bytes | bytearray | memoryview)
            (output,) = decode_tensors(contract.reply, contract.outputs, reply.payload, reply.dims)
            assert labels(output).tolist() == truth.tolist()


def test_pings_are_answered_with_the_load(served: Served, reactor: Reactor, bundle: Bundle) -> None:
    with device(reactor, served) as edge:
        edge.greet(bundle)
        edge.send(Ping(3, 77))
        pong = edge.receive(Pong)
        assert (pong.number, pong.stamp, pong.load.queued) == (3, 77, 0)


def test_garbage_costs_its_sender_alone(served: Served, reactor: Reactor, bundle: Bundle) -> None:
    with device(reactor, served) as good, device(reactor, served) as bad:
        welcome = good.greet(bundle)
        for frames in ([b""], [b"garbage"], [b"x"] * 9, [bytes(range(256))], [b"", b""]):
            bad.dealer.send(frames)
            assert bad.receive(Error).code is WireCode.MALFORMED
        good.send(infer(bundle, welcome, 1, "input"))
        assert good.receive(Reply).request == 1


def test_a_flood_of_garbage_is_few_lines(
    served: Served, reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    began_s = time.monotonic()
    with device(reactor, served) as bad:
        for _ in range(50):
            bad.dealer.send([b"garbage"])
            bad.receive(Error)
    lines = [record for record in caplog.records if record.getMessage().startswith("refused")]
    assert 1 <= len(lines) <= 1 + (time.monotonic() - began_s) / INTERVAL_S


def test_random_bytes_and_half_a_message_on_the_port_cost_nobody_anything(
    served: Served, reactor: Reactor, bundle: Bundle
) -> None:
    port = int(served.endpoint.rpartition(":")[2])
    greeting = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(48)  # ZMTP 3.0, then silence
    with device(reactor, served) as edge:
        welcome = edge.greet(bundle)
        for data in (b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", greeting, greeting + b"\4\x26\5REA"):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(data)
        edge.send(infer(bundle, welcome, 1, "input"))
        assert edge.receive(Reply).request == 1


def test_an_oversized_message_ends_its_sender_s_connection_alone(
    served: Served, reactor: Reactor, bundle: Bundle
) -> None:
    with device(reactor, served) as good, device(reactor, served) as greedy:
        welcome = good.greet(bundle)
        greedy.dealer.send([bytes(CHUNK_BYTES + 1)])
        greedy.until(lambda: bool(greedy.down))
        good.send(infer(bundle, welcome, 1, "input"))
        assert good.receive(Reply).request == 1


@pytest.mark.parametrize("payload", [b"", b"\0" * 10, b"\xff" * 4096])
def test_a_bad_payload_is_an_error_for_its_request_alone(
    served: Served, reactor: Reactor, bundle: Bundle, payload: bytes
) -> None:
    with device(reactor, served) as edge:
        welcome = edge.greet(bundle)
        good = infer(bundle, welcome, 1, "input")
        edge.send(replace(good, request=2, payload=payload, checksum=checksum(payload)))
        edge.send(good)
        error = edge.receive(Error)
        assert error.request == 2
        assert error.code in (WireCode.CORRUPT, WireCode.BAD_TENSOR)
        assert edge.receive(Reply).request == 1


def test_another_bundle_and_another_version_are_refused_by_name(
    served: Served, reactor: Reactor, bundle: Bundle
) -> None:
    with device(reactor, served) as edge:
        edge.send(replace(hello(bundle), paths=(b"x" * 32,)))
        error = edge.receive(Error)
        assert (error.code, "no path in common" in error.detail) == (WireCode.INCOMPATIBLE, True)
        edge.send(replace(hello(bundle), versions=(PROTOCOL_VERSION + 1,)))
        error = edge.receive(Error)
        assert error.code is WireCode.VERSION
        assert f"version {PROTOCOL_VERSION}" in error.detail


def test_a_device_that_vanished_comes_back_with_a_new_session(
    served: Served, reactor: Reactor, bundle: Bundle
) -> None:
    with device(reactor, served) as edge:
        first = edge.greet(bundle)
        edge.send(infer(bundle, first, 1, "input"))  # gone before its answer
    with device(reactor, served) as edge:
        second = edge.greet(bundle)
        assert second.session != first.session
        assert second.epoch == first.epoch
        edge.send(infer(bundle, second, 1, "input"))
        assert edge.receive(Reply).request == 1


def test_draining_answers_what_is_queued_and_says_bye(
    served: Served, reactor: Reactor, bundle: Bundle
) -> None:
    with device(reactor, served) as edge:
        welcome = edge.greet(bundle)
        for request in range(1, 20):
            edge.send(infer(bundle, welcome, request, "input"))
        first = edge.receive(Reply)
        served.worker.stop()
        assert edge.receive(Bye).code is WireCode.DRAINING
        served.thread.join(PATIENCE_S)
        assert not served.thread.is_alive()
        assert first.request == 1
