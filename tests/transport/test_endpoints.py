"""Which addresses are accepted."""

from __future__ import annotations

import pytest

from splitnet.errors import ConfigError
from splitnet.transport.endpoints import check_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("tcp://127.1.2.3:1", "tcp://127.1.2.3:1"),
        ("tcp://localhost:5555", "tcp://127.0.0.1:5555"),
        ("tcp://[::1]:5555", "tcp://[::1]:5555"),
    ],
)
def test_loopback_is_accepted(text: str, endpoint: str) -> None:
    assert check_endpoint(text, "--connect") == endpoint
    assert check_endpoint(text, "--bind") == endpoint


@pytest.mark.parametrize("port", ["0", "*"])
def test_a_worker_may_let_the_system_choose_its_port(port: str) -> None:
    assert check_endpoint(f"tcp://127.0.0.1:{port}", "--bind") == "tcp://127.0.0.1:*"
    with pytest.raises(ConfigError, match=r"--connect .* port"):
        check_endpoint(f"tcp://127.0.0.1:{port}", "--connect")


@pytest.mark.parametrize(
    "text", ["tcp://10.0.0.1:5555", "tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://example.org:80"]
)
def test_anything_else_needs_keys(text: str) -> None:
    with pytest.raises(ConfigError, match="needs keys: give --key and --allow"):
        check_endpoint(text, "--bind")
    with pytest.raises(ConfigError, match="needs keys: give --key and --server-key"):
        check_endpoint(text, "--connect")
    assert check_endpoint(text, "--bind", keyed=True) == text


def test_with_keys_one_address_is_named_to_connect_to() -> None:
    text = "tcp://example.org:80"
    assert check_endpoint(text, "--connect", keyed=True) == text
    with pytest.raises(ConfigError, match="stands for every address; name one"):
        check_endpoint("tcp://*:80", "--connect", keyed=True)


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1:5555", "udp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:x"]
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an endpoint"):
        check_endpoint(text, "--connect")


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="65535"):
        check_endpoint("tcp://127.0.0.1:65536", "--connect")
