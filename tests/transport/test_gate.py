"""Dealer and router with keys: who comes in, who does not, and what each of them is told."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from splitnet.errors import ConfigError, TransportError
from splitnet.transport import gate as gate_module
from splitnet.transport.allow_list import AllowList
from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.transport.gate import Gate, open_gate
from splitnet.transport.keys import ClientKeys, PublicKey
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router
from tests.transport.key_files import KeyFiles, make_keys, make_list

Until = Callable[[Callable[[], bool]], None]

BOUNDS = {"max_message_bytes": 100_000, "queue_bytes": 1_000_000}


@dataclass(frozen=True)
class People:
    """Keys of everybody, and the list that knows the first device alone."""

    worker: KeyFiles
    first: KeyFiles
    second: KeyFiles
    allow: Path

    def keys(self, device: KeyFiles, server: KeyFiles | None = None) -> ClientKeys:
        return ClientKeys(device.pair, PublicKey((server or self.worker).pair.public.text))


@pytest.fixture
def people(tmp_path: Path) -> People:
    first = make_keys(tmp_path, "device", "first")
    return People(
        make_keys(tmp_path, "worker", "worker"),
        first,
        make_keys(tmp_path, "device", "second"),
        make_list(tmp_path / "allow", [first]),
    )


class Server:
    """A router that echoes."""

    def __init__(self, router: Router, gate: Gate | None) -> None:
        self.router = router
        self.gate = gate
        self.received: list[bytes] = []

    def serve(self) -> None:
        for peer, frames in self.router.receive():
            self.received.append(frames[0])
            self.router.send(peer, frames)


class Client:
    """A dealer and everything that it reported."""

    def __init__(self, dealer: Dealer) -> None:
        self.dealer = dealer
        self.events: list[Up | Down | list[bytes]] = []

    @property
    def up(self) -> bool:
        return Up() in self.events

    @property
    def down(self) -> str:
        return "".join(event.reason for event in self.events if isinstance(event, Down))

    @property
    def messages(self) -> list[list[bytes]]:
        return [event for event in self.events if isinstance(event, list)]


class Stage:
    """Servers and clients on one reactor."""

    def __init__(self, reactor: Reactor, until: Until, stack: ExitStack) -> None:
        self._reactor = reactor
        self._until = until
        self._stack = stack
        self._servers: list[Server] = []
        self._clients: list[Client] = []

    def server(self, people: People | None) -> Server:
        gate = open_gate(people.worker.secret, people.allow, "worker") if people else None
        router = Router(self._reactor, "tcp://127.0.0.1:*", **BOUNDS, gate=gate)
        router.open()
        self._stack.callback(router.close)
        self._servers.append(Server(router, gate))
        return self._servers[-1]

    def client(self, server: Server, keys: ClientKeys | None) -> Client:
        endpoint = server.router.endpoint
        dealer = Dealer(self._reactor, endpoint, **BOUNDS, connect_s=2.0, keys=keys)
        dealer.open()
        self._stack.callback(dealer.close)
        self._clients.append(Client(dealer))
        return self._clients[-1]

    def until(self, condition: Callable[[], bool]) -> None:
        def turned() -> bool:
            for server in self._servers:
                server.serve()
            for client in self._clients:
                client.events += client.dealer.events()
            return condition()

        self._until(turned)


@contextmanager
def staged(reactor: Reactor, until: Until) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(reactor, until, stack)


@pytest.fixture
def stage(reactor: Reactor, until: Until) -> Iterator[Stage]:
    with staged(reactor, until) as found:
        yield found


def test_an_allowed_key_comes_in(stage: Stage, people: People) -> None:
    server = stage.server(people)
    client = stage.client(server, people.keys(people.first))
    stage.until(lambda: client.up)
    client.dealer.send([b"hello"])
    stage.until(lambda: client.messages == [[b"hello"]])
    assert server.gate is not None
    assert server.gate.refused == 0
    assert server.gate.public == people.worker.pair.public


def test_an_unknown_key_is_told_so_counted_and_logged_once(
    stage: Stage, people: People, caplog: pytest.LogCaptureFixture
) -> None:
    server = stage.server(people)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            client = stage.client(server, people.keys(people.second))
            stage.until(lambda client=client: bool(client.down))  # type: ignore[misc]
            assert "handshake refused: the worker does not know this key" in client.down
            assert not client.up
    assert server.gate is not None
    assert server.gate.refused == 3
    public = people.second.pair.public.text
    assert [r.message for r in caplog.records] == [
        f"refused unknown key={public} address=127.0.0.1"
    ]


def test_a_stranger_does_not_disturb_who_is_in(stage: Stage, people: People) -> None:
    server = stage.server(people)
    client = stage.client(server, people.keys(people.first))
    stage.until(lambda: client.up)
    strangers = [
        stage.client(server, people.keys(people.second)),
        stage.client(server, people.keys(people.first, people.second)),
        stage.client(server, None),
    ]
    stage.until(lambda: all(stranger.down for stranger in strangers))
    port = int(server.router.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(bytes(range(256)) * 10)
    client.dealer.send([b"hello"])
    stage.until(lambda: client.messages == [[b"hello"]])
    assert server.received == [b"hello"]


def test_a_wrong_server_key_is_named_as_the_likely_cause(stage: Stage, people: People) -> None:
    server = stage.server(people)
    client = stage.client(server, people.keys(people.first, people.second))
    stage.until(lambda: bool(client.down))
    assert "the server key given here is not the key of this worker" in client.down


def test_keys_on_one_side_alone_are_named(stage: Stage, people: People) -> None:
    plain = stage.server(None)
    keyed = stage.client(plain, people.keys(people.first))
    stage.until(lambda: bool(keyed.down))
    assert "the worker uses no keys" in keyed.down
    bare = stage.client(stage.server(people), None)
    stage.until(lambda: bool(bare.down))
    assert "the peer wants keys" in bare.down


def test_two_devices_with_one_key_both_work(stage: Stage, people: People) -> None:
    server = stage.server(people)
    twins = [stage.client(server, people.keys(people.first)) for _ in range(2)]
    stage.until(lambda: all(twin.up for twin in twins))
    for number, twin in enumerate(twins):
        twin.dealer.send([bytes([number])])
    stage.until(lambda: [twin.messages for twin in twins] == [[[b"\0"]], [[b"\1"]]])


def test_a_key_from_a_second_address_is_reported_once(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    allowed = AllowList(people.allow)
    allowed.load()
    gate = Gate(people.worker.pair, allowed)
    raw = people.first.pair.public.raw
    with caplog.at_level(logging.WARNING):
        for address in (b"10.0.0.1", b"10.0.0.1", b"10.0.0.2", b"10.0.0.3"):
            question = [b"p", b"", b"1.0", b"7", b"splitnet", address, b"", b"CURVE", raw]
            assert gate._answer(question)[4] == b"200"
    assert [r.message for r in caplog.records] == [
        f"shared key={people.first.pair.public.text} name='first' addresses=10.0.0.1,10.0.0.2; "
        "give every device a key of its own"
    ]


def test_refused_keys_do_not_fill_the_memory(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "REMEMBERED_KEYS", 3)
    gate = Gate(people.worker.pair, AllowList(people.allow))
    for number in range(10):
        raw = bytes([number]) * 32
        answer = gate._answer([b"p", b"", b"1.0", b"7", b"", b"10.0.0.1", b"", b"CURVE", raw])
        assert answer[4] == b"400"
    assert (gate.refused, len(gate._refusals)) == (10, 3)


def test_another_mechanism_is_refused(people: People) -> None:
    gate = Gate(people.worker.pair, AllowList(people.allow))
    for rest in ([b"NULL"], [b"PLAIN", b"user", b"password"], [b"CURVE"], []):
        answer = gate._answer([b"p", b"", b"1.0", b"7", b"", b"10.0.0.1", b"", *rest])
        assert answer[4] == b"400"


def test_a_key_that_is_added_comes_in_without_a_restart(stage: Stage, people: People) -> None:
    server = stage.server(people)
    refused = stage.client(server, people.keys(people.second))
    stage.until(lambda: bool(refused.down))
    make_list(people.allow, [people.first, people.second])
    client = stage.client(server, people.keys(people.second))
    stage.until(lambda: client.up)


def test_a_key_that_is_taken_away_is_heard_no_longer(
    stage: Stage, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "REFRESH_S", 0.0)
    make_list(people.allow, [people.first, people.second])
    server = stage.server(people)
    stays = stage.client(server, people.keys(people.first))
    goes = stage.client(server, people.keys(people.second))
    stage.until(lambda: stays.up and goes.up)
    goes.dealer.send([b"before"])
    stage.until(lambda: goes.messages == [[b"before"]])
    make_list(people.allow, [people.first])
    server.serve()
    goes.dealer.send([b"after"])
    stays.dealer.send([b"still here", b"payload"])
    stage.until(lambda: stays.messages == [[b"still here", b"payload"]])
    again = stage.client(server, people.keys(people.second))
    stage.until(lambda: bool(again.down))
    assert server.received == [b"before", b"still here"]


def test_a_reactor_has_one_gate(reactor: Reactor, stage: Stage, people: People) -> None:
    stage.server(people)
    gate = open_gate(people.worker.secret, people.allow, "worker")
    with pytest.raises(TransportError, match="one socket with keys, not two"):
        Router(reactor, "tcp://127.0.0.1:*", **BOUNDS, gate=gate).open()


def test_a_port_in_use_leaves_no_gate_behind(reactor: Reactor, people: People) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        gate = open_gate(people.worker.secret, people.allow, "worker")
        with pytest.raises(TransportError, match="is in use"):
            Router(reactor, endpoint, **BOUNDS, gate=gate).open()


def test_a_gate_needs_both_or_none(people: People) -> None:
    assert open_gate(None, None, "worker") is None
    with pytest.raises(ConfigError, match="--key needs --allow"):
        open_gate(people.worker.secret, None, "worker")
    with pytest.raises(ConfigError, match="--allow needs --key, the secret key of this worker"):
        open_gate(None, people.allow, "worker")
    with pytest.raises(ConfigError, match="is the key of a device"):
        open_gate(people.first.secret, people.allow, "worker")


def test_the_largest_message_fits_with_keys_too(stage: Stage, people: People) -> None:
    server = stage.server(people)
    client = stage.client(server, people.keys(people.first))
    stage.until(lambda: client.up)
    client.dealer.send([b"head", bytes(BOUNDS["max_message_bytes"])])
    stage.until(lambda: client.messages == [[b"head", bytes(BOUNDS["max_message_bytes"])]])
    client.dealer.send([bytes(BOUNDS["max_message_bytes"] + 1)])
    stage.until(lambda: bool(client.down))
