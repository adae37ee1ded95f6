"""What messages cost, and the life of a connection over a link."""

from __future__ import annotations

import pytest

from splitnet.sim.capacity import Capacity, Opportunities, constant
from splitnet.sim.connection import (
    OPENING_ROUND_TRIPS,
    Connection,
    message_bytes,
)
from splitnet.sim.delay import Delay
from splitnet.sim.kernel import Kernel
from splitnet.sim.link import Direction, Pipe
from splitnet.values import Load
from splitnet.wire import Chunk, Hollow, Message, Ping, Pong, size

DELAY_S = 0.010


def test_a_message_costs_its_frames_as_in_the_shaper() -> None:
    ping = Ping(1, 2)
    assert message_bytes(ping) == size(ping) + 2
    small = Chunk(1, 0, 1, True, 0, Hollow(200))
    assert message_bytes(small) == size(small) + 2 + 2
    large = Chunk(1, 0, 1, True, 0, Hollow(8192))
    assert message_bytes(large) == size(large) + 2 + 9


class Ends:
    """Both ends of a connection, and what they heard, with the time."""

    def __init__(self, up: Capacity | None = None, hop_s: float = 0.0) -> None:
        self.kernel = Kernel()
        self.heard: list[tuple[float, object]] = []
        self.accepts = True
        fast = constant(1e12)
        pipes = [Pipe(Direction(c, Delay((0.0,), (DELAY_S,)), 65536)) for c in (up or fast, fast)]
        self.connection = Connection(self.kernel, pipes[0], pipes[1], self, self, b"peer", hop_s)

    def _hear(self, what: object) -> None:
        self.heard.append((round(self.kernel.now_s, 6), what))

    def established(self) -> None:
        self._hear("established")

    def lost(self, reason: str) -> None:
        self._hear(f"lost: {reason}")

    def received(self, message: Message) -> None:
        self._hear(message)

    def accept(self, connection: Connection) -> bool:
        return self.accepts

    def receive(self, connection: Connection, message: Message) -> None:
        assert connection is self.connection
        self._hear(message)

    def opened(self) -> Ends:
        self.connection.open()
        self.kernel.run()
        self.heard.clear()
        return self


def test_opening_takes_its_round_trips() -> None:
    ends = Ends()
    ends.connection.open()
    ends.kernel.run()
    ((time_s, what),) = ends.heard
    assert what == "established"
    assert time_s == pytest.approx(OPENING_ROUND_TRIPS * 2 * DELAY_S)


def test_nobody_listens() -> None:
    ends = Ends()
    ends.accepts = False
    ends.connection.open()
    ends.kernel.run()
    assert ends.heard == [(2 * DELAY_S, "lost: nobody listens there")]


def test_messages_arrive_in_order_after_the_delay() -> None:
    ends = Ends().opened()
    began_s = ends.kernel.now_s
    pings = [Ping(number, 0) for number in range(3)]
    for ping in pings:
        ends.connection.send_up(ping)
    ends.connection.send_down(Pong(7, 0, Load()))
    ends.kernel.run()
    heard = [what for _, what in ends.heard]
    assert [what for what in heard if isinstance(what, Ping)] == pings
    assert Pong(7, 0, Load()) in heard
    assert {time_s for time_s, _ in ends.heard} == {round(began_s + DELAY_S, 6)}


def test_a_hop_comes_on_top_of_the_link() -> None:
    ends = Ends(hop_s=0.002).opened()
    began_s = ends.kernel.now_s
    ends.connection.send_up(Ping(1, 0))
    ends.kernel.run()
    assert [time_s for time_s, _ in ends.heard] == [round(began_s + DELAY_S + 0.002, 6)]


def test_what_is_under_way_to_a_closed_end_is_lost() -> None:
    ends = Ends().opened()
    ends.connection.send_down(Ping(1, 0))
    ends.connection.send_up(Ping(2, 0))
    ends.connection.close()
    ends.kernel.run()
    assert [what for _, what in ends.heard] == [Ping(2, 0)]
    assert not ends.connection.open_at_worker


def test_a_reset_reaches_the_agent_behind_what_was_sent() -> None:
    ends = Ends().opened()
    ends.connection.send_up(Ping(1, 0))
    ends.connection.send_down(Ping(2, 0))
    ends.connection.reset()
    ends.kernel.run()
    assert [what for _, what in ends.heard] == [Ping(2, 0), "lost: the connection was lost"]


def test_a_cut_takes_both_ends_at_once() -> None:
    ends = Ends().opened()
    began_s = ends.kernel.now_s
    ends.connection.send_up(Ping(1, 0))
    ends.connection.send_down(Ping(2, 0))
    ends.connection.cut("a cable was pulled")
    ends.kernel.run()
    assert ends.heard == [(round(began_s, 6), "lost: a cable was pulled")]


def test_a_worker_that_dies_while_hands_are_shaken_does_not_come_back_into_it() -> None:
    ends = Ends()
    ends.connection.open()
    ends.kernel.at(3.5 * DELAY_S, ends.connection.reset)
    ends.kernel.run()
    assert [what for _, what in ends.heard] == ["lost: the connection was lost"]
    assert not ends.connection.open_at_worker


def test_nothing_arrives_over_a_link_that_has_ended() -> None:
    ends = Ends(up=Opportunities([0.001]))
    ends.connection.open()
    ends.kernel.run()
    assert ends.heard == []
