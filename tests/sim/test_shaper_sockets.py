"""Addresses and sockets of the shaper."""

from __future__ import annotations

import socket

import pytest

from splitnet.errors import ConfigError, TransportError
from splitnet.sim.shaper_sockets import (
    MAX_KERNEL_BYTES,
    MIN_KERNEL_BYTES,
    Address,
    kernel_bytes,
    listen_at,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("127.0.0.1:5555", Address("127.0.0.1", 5555), "tcp://127.0.0.1:5555"),
        ("tcp://127.1.2.3:1", Address("127.1.2.3", 1), "tcp://127.1.2.3:1"),
        ("localhost:80", Address("127.0.0.1", 80), "tcp://127.0.0.1:80"),
        ("tcp://[::1]:80", Address("::1", 80), "tcp://[::1]:80"),
    ],
)
def test_addresses(text: str, address: Address, shown: str) -> None:
    assert parse_address(text, "--to") == address
    assert str(address) == shown


@pytest.mark.parametrize("text", ["127.0.0.1:0", "127.0.0.1:*"])
def test_any_port_is_for_listening_only(text: str) -> None:
    assert parse_address(text, "--listen", any_port=True).port == 0
    with pytest.raises(ConfigError, match="the port must be a number from 1 to 65535"):
        parse_address(text, "--to")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5555", "is not an address; write 127.0.0.1:5555"),
        ("udp://127.0.0.1:5555", "is not an address"),
        ("127.0.0.1:65536", "the port must be a number"),
        ("0.0.0.0:5555", "the shaper stays on this machine; use 127.0.0.1:5555"),
        ("10.0.0.1:5555", "the shaper stays on this machine"),
        ("example.org:5555", "the shaper stays on this machine"),
    ],
)
def test_addresses_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_address(text, "--to")


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(TransportError, match=f"cannot listen at tcp://127.0.0.1:{port}: Addr"):
            listen_at(Address("127.0.0.1", port), 65536)


def test_the_kernel_holds_what_it_was_allowed() -> None:
    assert [kernel_bytes(q) for q in (1500, 100_000, 10**7)] == [
        MIN_KERNEL_BYTES,
        12_500,
        MAX_KERNEL_BYTES,
    ]
    with listen_at(Address("127.0.0.1", 0), 100_000) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 12_500
