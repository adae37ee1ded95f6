"""A worker in a thread, spoken to over a real socket by devices good and bad."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from splitnet.bundle import Bundle
from splitnet.cloud.log_limit import INTERVAL_S
from splitnet.errors import WireCode
from splitnet.runtime.answers import labels
from splitnet.runtime.payloads import decode_tensors
from splitnet.runtime.preprocess import prepare
from splitnet.runtime.sessions import Graph
from splitnet.transport.reactor import Reactor
from splitnet.wire import PROTOCOL_VERSION, Bye, Error, Ping, Pong, Reply, checksum
from tests.cloud.conftest import CHUNK_BYTES, PATIENCE_S, SAMPLE, Served, device, hello, infer


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
