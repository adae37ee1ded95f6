"""Peers that vanish without a farewell: the router hangs up on them, and on nobody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from splitnet.transport.dealer import Dealer, Up
from splitnet.transport.gate import open_gate
from splitnet.transport.keys import ClientKeys
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router
from tests.transport.conftest import PATIENCE_S
from tests.transport.key_files import make_keys, make_list

Until = Callable[[Callable[[], bool]], None]

BOUNDS = {"max_message_bytes": 10_000, "queue_bytes": 100_000}
SILENT_S = 0.3


class Cable:
    """Carries bytes between a dealer and a router until it is cut; nobody is told of the cut."""

    def __init__(self, router: Router) -> None:
        self._port = int(router.endpoint.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._cut = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.hung_up = threading.Event()

    def cut(self) -> None:
        self._cut.set()

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._port))
        self._ends += [near, far]
        back = threading.Thread(target=self._carry, args=(far, near, self.hung_up))
        self._threads.append(back)
        back.start()
        self._carry(near, far, threading.Event())

    def _carry(self, source: socket.socket, sink: socket.socket, ended: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                if not self._cut.is_set():
                    sink.sendall(data)
        ended.set()


@contextmanager
def opened(end: Router | Dealer) -> Iterator[None]:
    end.open()
    try:
        yield
    finally:
        end.close()


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "curve"])
def test_a_device_that_vanished_is_hung_up_on_and_one_that_is_silent_is_not(
    reactor: Reactor, until: Until, tmp_path: Path, keyed: bool
) -> None:
    worker = make_keys(tmp_path, "worker", "worker")
    device = make_keys(tmp_path, "device", "device")
    allowed = make_list(tmp_path / "allow", [device])
    gate = open_gate(worker.secret, allowed, "worker") if keyed else None
    keys = ClientKeys(device.pair, worker.pair.public) if keyed else None
    router = Router(reactor, "tcp://127.0.0.1:*", **BOUNDS, silent_s=SILENT_S, gate=gate)
    with opened(router):
        cable = Cable(router)
        vanishing = Dealer(reactor, cable.endpoint, **BOUNDS, connect_s=2.0, keys=keys)
        silent = Dealer(reactor, router.endpoint, **BOUNDS, connect_s=2.0, keys=keys)
        received: list[tuple[bytes, list[bytes]]] = []
        happened: dict[Dealer, list[object]] = {vanishing: [], silent: []}

        def turned(condition: Callable[[], bool]) -> Callable[[], bool]:
            def turn() -> bool:
                received.extend(router.receive())
                for dealer, events in happened.items():
                    events += dealer.events()
                return condition()

            return turn

        try:
            with opened(vanishing), opened(silent):
                until(turned(lambda: all(events == [Up()] for events in happened.values())))
                vanishing.send([b"last words"])
                until(turned(lambda: len(received) == 1))
                cable.cut()
                until(turned(cable.hung_up.is_set))
                assert not router.send(received[0][0], [b"anybody?"])
                silent.send([b"still here"])
                until(turned(lambda: len(received) == 2))
                assert happened[silent] == [Up()]
        finally:
            cable.close()


def test_a_stranger_that_never_shakes_hands_is_hung_up_on(reactor: Reactor) -> None:
    router = Router(reactor, "tcp://127.0.0.1:*", **BOUNDS, silent_s=SILENT_S, gate=None)
    with opened(router):
        port = int(router.endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as stranger:
            while stranger.recv(4096):
                pass
