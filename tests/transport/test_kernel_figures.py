"""What a dealer makes of its connection's descriptor: figures, and little that the kernel hides."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
import zmq

from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.transport.reactor import Reactor
from splitnet.transport.tcp_info import UNSENT_BYTES, TcpInfo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO as Linux has it")

Until = Callable[[Callable[[], bool]], None]

MESSAGE_BYTES = 8192
MESSAGES = 1000
TURNS = 10


@pytest.fixture
def peer() -> Iterator[zmq.Socket[bytes]]:
    """A ROUTER in a context of its own, with little room for what it does not read."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set_hwm(1)
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.RCVBUF, 4096)
        router.bind("tcp://127.0.0.1:*")
        yield router


@pytest.fixture
def dealer(reactor: Reactor, peer: zmq.Socket[bytes]) -> Iterator[Dealer]:
    dealer = Dealer(
        reactor,
        peer.getsockopt_string(zmq.LAST_ENDPOINT),
        max_message_bytes=MESSAGE_BYTES,
        queue_bytes=2 * MESSAGES * MESSAGE_BYTES,
        connect_s=2.0,
    )
    dealer.open()
    yield dealer
    dealer.close()


def connect(dealer: Dealer, until: Until) -> TcpInfo:
    assert dealer.tcp_info() is None
    until(lambda: Up() in list(dealer.events()))
    found = dealer.tcp_info()
    assert found is not None
    return found


def test_the_figures_of_a_connection_outlive_it(
    dealer: Dealer, until: Until, peer: zmq.Socket[bytes]
) -> None:
    found = connect(dealer, until)
    assert 0 < found.min_rtt_s <= found.rtt_s < 1.0
    peer.close()
    until(lambda: any(isinstance(event, Down) for event in dealer.events()))
    last = dealer.tcp_info()
    assert last is not None
    assert last.min_rtt_s == found.min_rtt_s


def test_a_link_that_stalls_hides_little(dealer: Dealer, until: Until) -> None:
    """Without the bound the kernel takes 2 MB of what is sent to a peer that does not read."""
    connect(dealer, until)
    for _ in range(MESSAGES):
        dealer.send([bytes(MESSAGE_BYTES)])
    unsent: list[int] = []

    def turned() -> bool:
        assert list(dealer.events()) == []
        found = dealer.tcp_info()
        assert found is not None
        unsent.append(found.unsent_bytes)
        return len(unsent) == TURNS

    until(turned)
    assert 0 < max(unsent) <= 2 * UNSENT_BYTES
