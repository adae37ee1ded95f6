"""The kernel's figures: parsed from bytes, and read from real connections."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from splitnet.transport.tcp_info import TcpInfo, limit_unsent, parse_tcp_info, read_tcp_info

linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO as Linux has it")

UNSENT_BYTES = 16 << 10


def info(app_limited: bool = False, min_rtt_us: int = 900) -> bytes:
    """Return a ``struct tcp_info``, written member by member."""
    bit = 0x01 if sys.byteorder == "little" else 0x80
    head = struct.pack("=8B", 1, 0, 0, 0, 0, 0, 0, bit if app_limited else 0)
    before_rtt = struct.pack("=15I", *range(1000, 1015))
    rtt_to_retrans = struct.pack("=9I", 1500, *[0] * 7, 7)  # rtt, ..., total_retrans
    assert len(head + before_rtt) == 68
    rest = struct.pack("=4Q", *[0] * 4) + struct.pack("=2I", 0, 0)
    unsent = struct.pack("=4I", 4321, min_rtt_us, 0, 0)
    return head + before_rtt + rtt_to_retrans + rest + unsent + struct.pack("=Q", 125_000)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            yield near, far


def test_the_members_are_found() -> None:
    assert parse_tcp_info(info()) == TcpInfo(0.0015, 0.0009, 7, 4321, 1e6, app_limited=False)
    assert parse_tcp_info(info(app_limited=True) + bytes(80)) == TcpInfo(
        0.0015, 0.0009, 7, 4321, 1e6, app_limited=True
    )


def test_without_a_least_round_trip_time_it_is_the_smoothed_one() -> None:
    found = parse_tcp_info(info(min_rtt_us=0xFFFFFFFF))
    assert found is not None
    assert found.min_rtt_s == 0.0015


@pytest.mark.parametrize("length", [0, 104, 167])
def test_what_an_old_kernel_gives_is_too_short(length: int) -> None:
    assert parse_tcp_info(info()[:length]) is None


@linux
def test_a_connection_is_read_and_stays_open(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(b"x" * 10_000)
    while far.recv(65536, socket.MSG_PEEK) != b"x" * 10_000:
        pass
    found = read_tcp_info(near.fileno())
    assert found is not None
    assert 0 < found.min_rtt_s <= 0.2
    assert found.rtt_s > 0
    near.sendall(b"still open")


@linux
def test_the_kernel_hides_little_once_it_is_told_so(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """On a peer that does not read; without the bound the kernel takes megabytes."""
    near, _ = pair
    near.setblocking(False)
    assert limit_unsent(near.fileno(), UNSENT_BYTES)
    while True:
        try:
            near.send(bytes(4096))
        except BlockingIOError:
            break
    found = read_tcp_info(near.fileno())
    assert found is not None
    assert found.unsent_bytes <= 4 * UNSENT_BYTES  # a buffer of the kernel may be half full


def test_what_is_no_connection_has_no_figures() -> None:
    reader, writer = os.pipe()
    assert read_tcp_info(reader) is None
    assert not limit_unsent(reader, UNSENT_BYTES)
    os.close(reader)
    os.close(writer)
    assert read_tcp_info(reader) is None
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as datagrams:
        assert read_tcp_info(datagrams.fileno()) is None
