"""The shaper with real sockets: a client, a target, and what may go wrong between them."""

from __future__ import annotations

import array
import fcntl
import random
import select
import socket
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread
from typing import Any

import pytest

from splitnet.sim import shaper as shaper_module
from splitnet.sim.capacity import Steps, Switched, constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import Direction, Link
from splitnet.sim.shaper import Shaper
from splitnet.sim.shaper_sockets import Address, listen_at
from splitnet.sim.shaper_waiter import Waiter

PATIENCE_S = 10.0
QUEUE_BYTES = 65_536


class Stage:
    """A shaper in a thread between clients and a target of this thread."""

    def __init__(self, link: Link, target: socket.socket, shaper: Shaper, port: int) -> None:
        self.link = link
        self.target = target
        self.shaper = shaper
        self.port = port
        self._stack = ExitStack()

    def client(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        return self._stack.enter_context(client)

    def accept(self) -> socket.socket:
        accepted, _ = self.target.accept()
        accepted.settimeout(PATIENCE_S)
        return self._stack.enter_context(accepted)

    def connection(self) -> tuple[socket.socket, socket.socket]:
        return self.client(), self.accept()

    def counter(self, name: str) -> int:
        return self.shaper.counters[name]

    def close(self) -> None:
        self._stack.close()


Start = Callable[..., Stage]


def link(
    mbps: float = 100.0,
    delay_s: float = 0.0,
    queue_bytes: int = QUEUE_BYTES,
    dead_s: tuple[tuple[float, float], ...] = (),
    resets_s: tuple[float, ...] = (),
) -> Link:
    capacity: Any = constant(1e6 * mbps)
    for start_s, end_s in dead_s:
        starts_s = tuple(sorted({0.0, start_s, end_s}))
        parts = [constant(0.0) if start_s <= s < end_s else capacity for s in starts_s]
        capacity = Switched(starts_s, parts)
    way = Direction(capacity, Delay((0.0,), (delay_s,), outages_s=dead_s), queue_bytes)
    return Link(way, way, resets_s)


@contextmanager
def running(described: Link, target: Address) -> Iterator[tuple[Shaper, int]]:
    listener = listen_at(Address("127.0.0.1", 0), described.up.queue_bytes)
    port = listener.getsockname()[1]
    waiter = Waiter()
    shaper = Shaper(described, listener, target, waiter)
    thread = Thread(target=shaper.run)
    thread.start()
    try:
        yield shaper, port
    finally:
        shaper.stop()
        thread.join(PATIENCE_S)
        waiter.close()
        assert not thread.is_alive()


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(**options: Any) -> Stage:
            described = link(**options)
            target = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            target.settimeout(PATIENCE_S)
            address = Address("127.0.0.1", target.getsockname()[1])
            shaper, port = stack.enter_context(running(described, address))
            stage = Stage(described, target, shaper, port)
            stack.callback(stage.close)
            return stage

        yield begin


def received(receiver: socket.socket, nbytes: int) -> bytes:
    """Read so many bytes, or up to the end."""
    parts = []
    while nbytes > 0 and (part := receiver.recv(min(nbytes, 65536))):
        parts.append(part)
        nbytes -= len(part)
    return b"".join(parts)


def transfer(sender: socket.socket, receiver: socket.socket, data: bytes) -> bytes:
    """Send and receive at the same time."""
    view, parts, missing = memoryview(data), [], len(data)
    while missing:
        readable, writable, _ = select.select([receiver], [sender] if view else [], [], PATIENCE_S)
        assert readable or writable
        if writable:
            sender.setblocking(False)
            view = view[sender.send(view[:65536]) :]
            sender.settimeout(PATIENCE_S)
        if readable:
            parts.append(receiver.recv(65536))
            missing -= len(parts[-1])
    return b"".join(parts)


def fill(sender: socket.socket) -> int:
    """Send until the kernel has taken nothing for a while, and return how much it took."""
    sender.setblocking(False)
    nbytes = 0
    while select.select([], [sender], [], 0.2)[1]:
        nbytes += sender.send(bytes(4096))
    sender.settimeout(PATIENCE_S)
    return nbytes


def unsent(sender: socket.socket) -> int:
    """Return the bytes that the other side's kernel has not acknowledged."""
    count = array.array("i", (0,))
    fcntl.ioctl(sender.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def wait_for(condition: Callable[[], bool]) -> None:
    """Look until something has happened in the shaper's thread."""
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s


def bytes_of(seed: int, nbytes: int) -> bytes:
    return random.Random(seed).randbytes(nbytes)


def test_bytes_cross_unchanged_in_both_directions(start: Start) -> None:
    client, server = start().connection()
    up, down = bytes_of(1, 400_000), bytes_of(2, 300_000)
    assert transfer(client, server, up) == up
    assert transfer(server, client, down) == down


def test_bytes_take_their_time(start: Start) -> None:
    client, server = start(mbps=4.0, delay_s=0.03).connection()
    began_s = time.monotonic()
    client.sendall(b"x" * 25_000)
    received(server, 1)
    first_s = time.monotonic() - began_s
    received(server, 24_999)
    last_s = time.monotonic() - began_s
    assert first_s >= 0.03 + 1500 / 5e5
    assert last_s >= 0.03 + 25_000 / 5e5
    assert last_s < 1.0


def test_a_full_queue_stops_the_sender(start: Start) -> None:
    stage = start(mbps=0.008)
    client, _ = stage.connection()
    taken = fill(client) - unsent(client)
    assert 0.8 * QUEUE_BYTES < taken <= QUEUE_BYTES + 1500  # what has left it by now


@pytest.mark.parametrize("queue_bytes", [QUEUE_BYTES, 1_000_000])
def test_a_receiver_that_does_not_read_stops_the_sender(start: Start, queue_bytes: int) -> None:
    stage = start(mbps=500.0, queue_bytes=queue_bytes)
    client, server = stage.connection()
    sent = fill(client)
    assert 0 < stage.shaper.up.overdue_bytes < 2 * queue_bytes
    assert len(received(server, sent)) == sent
    wait_for(lambda: stage.shaper.up.overdue_bytes == 0)
    assert transfer(client, server, b"again") == b"again"


def test_an_end_follows_the_bytes_and_leaves_the_other_direction_open(start: Start) -> None:
    stage = start(delay_s=0.01)
    client, server = stage.connection()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert received(server, 100) == b"question"
    server.sendall(b"answer")
    server.close()
    assert received(client, 100) == b"answer"
    wait_for(lambda: stage.shaper.connections == 0)
    assert stage.counter("accepted") == 1
    assert stage.counter("broken") == 0


def test_a_reset_follows_the_bytes(start: Start) -> None:
    stage = start(delay_s=0.01)
    client, server = stage.connection()
    client.sendall(b"x" * 5000)
    assert len(received(server, 5000)) == 5000
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, array.array("i", (1, 0)).tobytes())
    client.close()
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    wait_for(lambda: stage.shaper.connections == 0)
    assert stage.counter("broken") == 1


def test_what_is_under_way_to_a_receiver_that_is_gone_is_dropped_and_counted(
    start: Start,
) -> None:
    stage = start(mbps=1.0)
    client, server = stage.connection()
    client.sendall(b"x" * 20_000)
    received(server, 1)
    server.close()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            client.sendall(b"x" * 1000)
    wait_for(lambda: stage.shaper.up.dropped_bytes > 0)


def test_a_target_that_refuses_costs_only_that_connection(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    stage = start(delay_s=0.01)
    address = stage.target.getsockname()
    stage.target.close()
    for _ in range(2):
        client = stage.client()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert stage.counter("refused_by_target") == 2
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == ["the target accepts no connection error='Connection refused'"]
    stage.target = socket.create_server(address)
    stage.target.settimeout(PATIENCE_S)
    with stage.target:
        client, server = stage.connection()
        assert transfer(client, server, b"hello") == b"hello"


def test_nothing_arrives_while_the_link_is_dead_and_everything_afterwards(start: Start) -> None:
    began_s = time.monotonic()
    client, server = start(delay_s=0.01, dead_s=((0.1, 0.4),)).connection()
    server.settimeout(0.1)
    got = 0
    sent = 0
    latest_s = 0.0
    while time.monotonic() - began_s < 0.6:
        sent += client.send(b"x" * 100)
        try:
            got += len(server.recv(100))
        except TimeoutError:
            assert 0.1 < time.monotonic() - began_s < 0.6
        else:
            arrived_s = time.monotonic() - began_s
            assert not 0.25 < arrived_s < 0.4
            latest_s = arrived_s
    server.settimeout(PATIENCE_S)
    assert latest_s >= 0.4
    assert got + len(received(server, sent - got)) == sent


def test_a_link_that_dies_in_the_middle_of_a_chunk_goes_on_where_it_stopped(start: Start) -> None:
    client, server = start(mbps=4.0, dead_s=((0.05, 0.3),)).connection()
    data = bytes_of(3, 60_000)  # 120 ms of link time
    began_s = time.monotonic()
    assert transfer(client, server, data) == data
    assert time.monotonic() - began_s >= 0.3


def test_a_reset_in_the_middle_of_a_chunk_leaves_a_prefix(start: Start) -> None:
    stage = start(mbps=4.0, resets_s=(0.1,))
    client, server = stage.connection()
    data = bytes_of(4, 200_000)
    Thread(target=_send_quietly, args=(client, data)).start()
    got = b""
    with pytest.raises(ConnectionResetError):
        while True:
            got += server.recv(65536)
    assert 0 < len(got) < len(data)
    assert data.startswith(got)
    assert stage.counter("reset_by_schedule") == 1
    client, server = stage.connection()
    assert transfer(client, server, b"hello") == b"hello"


def _send_quietly(client: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        client.sendall(data)


def test_connections_share_the_link(start: Start) -> None:
    stage = start(mbps=8.0, queue_bytes=30_000)
    pairs = [stage.connection() for _ in range(3)]
    for client, _ in pairs:
        client.setblocking(False)
    got = [0] * len(pairs)
    until_s = time.monotonic() + 0.6
    while time.monotonic() < until_s:
        servers = [server for _, server in pairs]
        readable, writable, _ = select.select(servers, [c for c, _ in pairs], [], 0.1)
        for index, (client, server) in enumerate(pairs):
            if client in writable:
                client.send(bytes(4096))
            if server in readable:
                got[index] += len(server.recv(65536))
    assert sum(got) <= 0.8 * 1e6
    assert min(got) > 0.15 * sum(got)


def test_connections_beyond_the_limit_are_turned_away(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shaper_module, "MAX_CONNECTIONS", 1)
    stage = start()
    client, server = stage.connection()
    with pytest.raises(ConnectionResetError):
        stage.client().recv(1)
    assert stage.counter("turned_away") == 1
    assert transfer(client, server, b"hello") == b"hello"


def test_openings_do_not_pile_up_in_front_of_a_dead_link(start: Start) -> None:
    stage = start(queue_bytes=1500, dead_s=((0.0, 1e9),))
    for _ in range(40):
        with suppress(ConnectionResetError):  # turned away before the connect has returned
            stage.client()
    wait_for(lambda: stage.counter("turned_away") == 40 - 1500 // 40)
    assert stage.shaper.connections == 40 - stage.counter("turned_away")


def test_a_half_open_connection_is_given_up(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shaper_module, "HALF_OPEN_S", 0.02)
    monkeypatch.setattr(shaper_module, "TICK_S", 0.05)
    stage = start()
    quiet = stage.connection()
    client, server = stage.connection()
    client.shutdown(socket.SHUT_WR)
    assert received(server, 1) == b""
    wait_for(lambda: stage.counter("half_open") == 1)
    wait_for(lambda: stage.shaper.connections == 1)
    assert "half-open connection reset" in caplog.text
    assert transfer(*quiet, b"still here") == b"still here"


def test_it_ends_with_connections_open_and_bytes_under_way(start: Start) -> None:
    stage = start(mbps=0.1)
    client, server = stage.connection()
    client.sendall(b"x" * 10_000)
    stage.shaper.stop()
    with suppress(ConnectionResetError):  # if the shaper had not read everything
        assert client.recv(1) == b""
    assert len(received(server, 10_000)) < 10_000


def test_the_rate_follows_steps(start: Start) -> None:
    way = Direction(Steps((0.0, 0.2), (4e5, 4e7)), Delay((0.0,), (0.0,)), QUEUE_BYTES)
    with (
        socket.create_server(("127.0.0.1", 0)) as target,
        running(Link(way, way), Address("127.0.0.1", target.getsockname()[1])) as (_, port),
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        target.settimeout(PATIENCE_S)
        began_s = time.monotonic()
        server, _ = target.accept()
        with server:
            data = bytes_of(5, 100_000)  # 2 s at the first rate
            assert transfer(client, server, data) == data
        assert 0.2 <= time.monotonic() - began_s + 0.05 < 1.5
