"""Ports of a range, and the address that devices are told."""

from __future__ import annotations

from contextlib import closing

import pytest

from splitnet.cloud.binding import advertised_endpoint, check_bind, is_one_port, open_router
from splitnet.errors import ConfigError, TransportError
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router


def test_a_range_is_all_of_its_ports() -> None:
    assert check_bind("tcp://127.0.0.1:5600-5602") == [
        f"tcp://127.0.0.1:{port}" for port in (5600, 5601, 5602)
    ]
    assert check_bind("tcp://127.0.0.1:*") == ["tcp://127.0.0.1:*"]


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        ("tcp://127.0.0.1:5602-5600", "FIRST-LAST"),
        ("tcp://127.0.0.1:0-10", "FIRST-LAST"),
        ("tcp://127.0.0.1:65530-70000", "FIRST-LAST"),
        ("tcp://10.0.0.1:5600-5699", "needs keys"),
        ("5600-5699", "is not an endpoint"),
    ],
)
def test_ranges_that_cannot_be_used(bind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_bind(bind)


def test_the_first_free_port_is_taken_and_a_full_range_is_named() -> None:
    with closing(Reactor()) as reactor:

        def make(endpoint: str) -> Router:
            return Router(reactor, endpoint, max_message_bytes=100, queue_bytes=100)

        taken = open_router("tcp://127.0.0.1:*", make)
        port = int(taken.endpoint.rpartition(":")[2])
        routers = [taken]
        try:
            wide = f"tcp://127.0.0.1:{port}-{min(port + 50, 65535)}"
            routers.append(open_router(wide, make))
            assert routers[1].endpoint != taken.endpoint
            with pytest.raises(TransportError, match="is in use"):
                open_router(f"tcp://127.0.0.1:{port}-{port}", make)
        finally:
            for router in routers:
                router.close()


@pytest.mark.parametrize(
    ("bound", "advertise", "endpoint"),
    [
        ("tcp://127.0.0.1:5600", None, "tcp://127.0.0.1:5600"),
        ("tcp://0.0.0.0:5600", "tcp://worker.example", "tcp://worker.example:5600"),
        ("tcp://0.0.0.0:5600", "tcp://192.0.2.1:7000", "tcp://192.0.2.1:7000"),
        ("tcp://[::]:5600", "tcp://[2001:db8::1]", "tcp://[2001:db8::1]:5600"),
    ],
)
def test_the_advertised_address(bound: str, advertise: str | None, endpoint: str) -> None:
    assert advertised_endpoint(bound, advertise) == endpoint


@pytest.mark.parametrize(
    ("advertise", "message"),
    [(None, "say it with --advertise"), ("host:1", "not an address"), ("tcp://*", "not an")],
)
def test_addresses_that_devices_cannot_use(advertise: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        advertised_endpoint("tcp://0.0.0.0:5600", advertise)


@pytest.mark.parametrize(
    ("bind", "one"),
    [("tcp://h:5600", True), ("tcp://h:5600-5699", False), ("tcp://h:*", False), ("h:0", False)],
)
def test_one_port_serves_one_worker(bind: str, one: bool) -> None:
    assert is_one_port(bind) is one
