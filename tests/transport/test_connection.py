"""Dealer and router over real sockets on loopback, with peers that behave and peers that do not."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from splitnet.errors import OverloadError, TransportError
from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router

Until = Callable[[Callable[[], bool]], None]

MESSAGE_BYTES = 100_000
QUEUE_BYTES = 1_000_000


@contextmanager
def open_router(reactor: Reactor, endpoint: str = "tcp://127.0.0.1:*") -> Iterator[Router]:
    router = Router(reactor, endpoint, max_message_bytes=MESSAGE_BYTES, queue_bytes=QUEUE_BYTES)
    router.open()
    try:
        yield router
    finally:
        router.close()


@contextmanager
def open_dealer(reactor: Reactor, endpoint: str) -> Iterator[Dealer]:
    dealer = Dealer(
        reactor,
        endpoint,
        max_message_bytes=MESSAGE_BYTES,
        queue_bytes=QUEUE_BYTES,
        connect_s=0.3,
    )
    dealer.open()
    try:
        yield dealer
    finally:
        dealer.close()


class Log:
    """Everything that a dealer reported."""

    def __init__(self, dealer: Dealer) -> None:
        self._dealer = dealer
        self.events: list[Up | Down | list[bytes]] = []

    def poll(self) -> list[Up | Down | list[bytes]]:
        self.events += self._dealer.events()
        return self.events

    @property
    def messages(self) -> list[list[bytes]]:
        return [event for event in self.poll() if isinstance(event, list)]

    @property
    def down(self) -> str:
        return "".join(event.reason for event in self.poll() if isinstance(event, Down))


def gather(router: Router, received: list[tuple[bytes, list[bytes]]]) -> bool:
    received += router.receive()
    return True


def connect(dealer: Dealer, until: Until) -> Log:
    log = Log(dealer)
    until(lambda: Up() in log.poll())
    return log


def test_messages_cross_in_order_both_ways(reactor: Reactor, until: Until) -> None:
    with open_router(reactor) as router, open_dealer(reactor, router.endpoint) as dealer:
        log = connect(dealer, until)
        for number in range(100):
            dealer.send([b"head", bytes([number]) * 1000])
        received: list[tuple[bytes, list[bytes]]] = []
        until(lambda: gather(router, received) and not log.messages and len(received) == 100)
        assert [frames[1][0] for _, frames in received] == list(range(100))
        for peer, frames in received:
            assert router.send(peer, frames)
        until(lambda: router.flush() == [] and len(log.messages) == 100)
        assert [frames[1][0] for frames in log.messages] == list(range(100))


def test_nobody_listening_is_noticed(reactor: Reactor, until: Until) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with open_dealer(reactor, f"tcp://127.0.0.1:{unused.getsockname()[1]}") as dealer:
            log = Log(dealer)
            until(lambda: bool(log.down))
            assert "nobody listens there" in log.down


def test_a_peer_that_never_answers_is_noticed(reactor: Reactor, until: Until) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with open_dealer(reactor, f"tcp://127.0.0.1:{mute.getsockname()[1]}") as dealer:
            log = Log(dealer)
            until(lambda: bool(log.down))
            assert Up() not in log.events


def test_a_peer_of_another_protocol_is_noticed(reactor: Reactor, until: Until) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with open_dealer(reactor, f"tcp://127.0.0.1:{server.getsockname()[1]}") as dealer:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" * 4)
            log = Log(dealer)
            until(lambda: bool(log.down))
            assert Up() not in log.events


def test_a_worker_that_vanishes_is_noticed_after_its_last_words(
    reactor: Reactor, until: Until
) -> None:
    with open_router(reactor) as router:
        dealer_context = open_dealer(reactor, router.endpoint)
        dealer = dealer_context.__enter__()
        log = connect(dealer, until)
        dealer.send([b"hello"])
        received: list[tuple[bytes, list[bytes]]] = []
        until(lambda: gather(router, received) and bool(received))
        router.send(received[0][0], [b"bye"])
        until(lambda: bool(log.messages))
    until(lambda: bool(log.down))
    assert [type(event) for event in log.events] == [Up, list, Down]
    dealer_context.__exit__(None, None, None)


def test_an_unconnected_dealer_keeps_a_bounded_number_of_bytes(reactor: Reactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with open_dealer(reactor, f"tcp://127.0.0.1:{mute.getsockname()[1]}") as dealer:
            dealer.send([b"x" * QUEUE_BYTES])
            with pytest.raises(OverloadError, match=f"{QUEUE_BYTES + 1} bytes wait"):
                dealer.send([b"x"])


def test_a_port_in_use_is_named(reactor: Reactor) -> None:
    with open_router(reactor) as router:
        second = Router(reactor, router.endpoint, max_message_bytes=1, queue_bytes=1)
        with pytest.raises(TransportError, match=rf"{router.endpoint} is in use.*--bind"):
            second.open()


def test_a_silent_device_is_gone_when_it_is_written_to(reactor: Reactor, until: Until) -> None:
    with open_router(reactor) as router:
        with open_dealer(reactor, router.endpoint) as dealer:
            connect(dealer, until)
            dealer.send([b"hello"])
            received: list[tuple[bytes, list[bytes]]] = []
            until(lambda: gather(router, received) and bool(received))
        peer = received[0][0]
        until(lambda: not router.send(peer, [b"anybody?"]))


def test_no_reply_is_lost_on_a_peer_that_reads_late(reactor: Reactor, until: Until) -> None:
    count = 2000  # far above the high-water marks
    with open_router(reactor) as router, open_dealer(reactor, router.endpoint) as dealer:
        log = connect(dealer, until)
        dealer.send([b"hello"])
        received: list[tuple[bytes, list[bytes]]] = []
        until(lambda: gather(router, received) and bool(received))
        for number in range(count):
            assert router.send(received[0][0], [number.to_bytes(4, "little") * 100])
        until(lambda: router.flush() == [] and len(log.messages) == count)
        found = [int.from_bytes(frames[0][:4], "little") for frames in log.messages]
        assert found == list(range(count))
        assert router.retry_s is None


def test_a_peer_that_never_reads_is_given_up_within_the_bound(
    reactor: Reactor, until: Until
) -> None:
    with open_router(reactor) as router, zmq.Context() as context:
        with context.socket(zmq.DEALER) as stalled:
            stalled.set_hwm(1)
            stalled.linger = 0
            stalled.connect(router.endpoint)
            stalled.send(b"hello")
            received: list[tuple[bytes, list[bytes]]] = []
            until(lambda: gather(router, received) and bool(received))
            sent = 0
            while router.send(received[0][0], [bytes(50_000)]):
                sent += 1
                assert sent < 10_000, "the queue has no bound"
            assert router.retry_s is None  # nothing of the peer is kept


def test_an_oversized_message_ends_the_connection_of_its_sender_alone(
    reactor: Reactor, until: Until
) -> None:
    with open_router(reactor) as router:
        with (
            open_dealer(reactor, router.endpoint) as honest,
            open_dealer(reactor, router.endpoint) as greedy,
        ):
            connect(honest, until)
            log = connect(greedy, until)
            greedy.send([bytes(MESSAGE_BYTES + 1)])
            until(lambda: bool(log.down))
            honest.send([b"still here"])
            received: list[tuple[bytes, list[bytes]]] = []
            until(lambda: gather(router, received) and bool(received))
            assert [frames for _, frames in received] == [[b"still here"]]


def test_random_bytes_on_the_port_disturb_nobody(reactor: Reactor, until: Until) -> None:
    with open_router(reactor) as router, open_dealer(reactor, router.endpoint) as dealer:
        connect(dealer, until)
        port = int(router.endpoint.rpartition(":")[2])
        for data in (b"", b"\xff" * 10, b"GET / HTTP/1.1\r\n\r\n" * 10, bytes(range(256)) * 40):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(data)
        dealer.send([b"still here"])
        received: list[tuple[bytes, list[bytes]]] = []
        until(lambda: gather(router, received) and bool(received))
        assert [frames for _, frames in received] == [[b"still here"]]


def test_a_message_of_many_frames_is_cut(reactor: Reactor, until: Until) -> None:
    with open_router(reactor) as router, open_dealer(reactor, router.endpoint) as dealer:
        connect(dealer, until)
        dealer.send([b"x"] * 1000)
        received: list[tuple[bytes, list[bytes]]] = []
        until(lambda: gather(router, received) and bool(received))
        assert received[0][1] == [b"x"] * 3


def test_an_impossible_address_is_one_clear_error(reactor: Reactor) -> None:
    dealer = Dealer(reactor, "tcp://nowhere", max_message_bytes=1, queue_bytes=1, connect_s=0.1)
    with pytest.raises(TransportError, match="cannot connect to tcp://nowhere"):
        dealer.open()
