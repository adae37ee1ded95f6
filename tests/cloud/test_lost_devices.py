"""Devices that fall silent or never read: what a worker keeps of them, and for how long."""

from __future__ import annotations

from dataclasses import replace

import zmq

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.transport.reactor import Reactor
from splitnet.wire import Error, InferFlag, Ping, Reply, checksum, encode
from tests.cloud.conftest import Served, device, hello, infer

FLOOD = 200
"""Messages sent between two looks at the worker."""


def test_a_device_that_falls_silent_in_the_middle_of_a_payload_is_forgotten(
    served: Served, reactor: Reactor, bundle: Bundle
) -> None:
    part = b"begun"
    with device(reactor, served) as edge:
        whole = infer(bundle, edge.greet(bundle), 1, "input")
        begun = replace(
            whole, flags=int(InferFlag.MORE_CHUNKS), payload=part, checksum=checksum(part)
        )
        edge.send(begun)
        edge.until(lambda: served.machine.sessions == 0)
        assert edge.down == ""  # nobody has hung up
        assert served.machine.counters["purged"] == 1
        edge.send(Ping(1, 0))
        assert edge.receive(Error).code is WireCode.NO_SESSION
        edge.send(infer(bundle, edge.greet(bundle), 1, "input"))
        assert edge.receive(Reply).request == 1


def test_a_device_that_never_reads_is_given_up_and_costs_no_other(
    served: Served, reactor: Reactor, bundle: Bundle
) -> None:
    with (
        device(reactor, served) as good,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as deaf,
    ):
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.setsockopt(zmq.RCVBUF, 4096)
        deaf.linger = 0
        deaf.connect(served.endpoint)
        deaf.send_multipart(encode(hello(bundle)))
        good.until(lambda: served.machine.sessions == 1)

        def given_up() -> bool:
            for _ in range(FLOOD):
                if deaf.poll(0, zmq.POLLOUT):
                    deaf.send_multipart(encode(Ping(1, 0)), zmq.NOBLOCK)
            return served.machine.sessions == 0

        good.until(given_up)
        good.send(infer(bundle, good.greet(bundle), 1, "input"))
        assert good.receive(Reply).request == 1
