"""Announcing to a directory that is scripted: what is said when, and what becomes of failures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from splitnet.cloud.announcing import RETRY_S, Announcer
from splitnet.errors import TransportError, WireCode
from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.transport.frames import Frames
from splitnet.values import Load
from splitnet.wire import Announce, Error, Message, Ping, Pong, decode, encode

LEASE_S = 3.0
ANNOUNCE = Announce(7, "tcp://127.0.0.1:1", b"", 3000, Load(), (b"p" * 32,))


class ScriptedDealer:
    """Notes what is sent and yields the events that the test puts in."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.happened: list[Up | Down | list[bytes]] = []
        self.sent: list[Message] = []
        self.closed = False

    def open(self) -> None:
        if self.fails:
            raise TransportError("no such address")

    def close(self, linger_s: float = 0.0) -> None:
        del linger_s
        self.closed = True

    def send(self, frames: Frames) -> None:
        self.sent.append(decode([bytes(frame) for frame in frames]))

    def events(self) -> Iterator[Up | Down | list[bytes]]:
        while self.happened:
            yield self.happened.pop(0)


class Scene:
    """An announcer, its dealers and the time."""

    def __init__(self) -> None:
        self.dealers: list[ScriptedDealer] = []
        self.fails = False
        self.now_s = 50.0
        self.announcer = Announcer(self._dealer, ANNOUNCE)

    def _dealer(self) -> Dealer:
        self.dealers.append(ScriptedDealer(self.fails))
        return cast("Dealer", self.dealers[-1])

    def step(self, after_s: float = 0.0, *events: Up | Down | Message) -> list[Message]:
        """Let time pass and things happen; return what was sent then."""
        self.now_s += after_s
        if self.dealers:
            for event in events:
                raw = event if isinstance(event, Up | Down) else list(map(bytes, encode(event)))
                self.dealers[-1].happened.append(raw)
        self.announcer.step(Load(queued=2), self.now_s)
        if not self.dealers:
            return []
        sent, self.dealers[-1].sent = self.dealers[-1].sent, []
        return sent


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.step()
    return scene


def test_it_announces_with_the_load_when_the_connection_stands(scene: Scene) -> None:
    first, ping = scene.step(0.1, Up())
    assert isinstance(first, Announce)
    assert (first.worker, first.load.queued) == (7, 2)
    assert isinstance(ping, Ping)


def test_it_announces_three_times_a_lease(scene: Scene) -> None:
    scene.step(0, Up())
    assert scene.announcer.wakeup_s == scene.now_s + LEASE_S / 3
    assert scene.step(0.9, Pong(1, 0, Load())) == []
    assert len(scene.step(0.2)) == 2


def test_a_directory_that_falls_silent_is_called_again(scene: Scene) -> None:
    scene.step(0, Up())
    scene.step(LEASE_S)
    assert scene.dealers[0].closed
    assert scene.announcer.wakeup_s == scene.now_s + RETRY_S
    scene.step(RETRY_S)
    assert len(scene.dealers) == 2
    assert len(scene.step(0, Up())) == 2


@pytest.mark.parametrize(
    ("event", "pause_s"),
    [
        (Down("nobody listens there"), RETRY_S),
        (Error(0, WireCode.OVERLOAD, 5000, "full"), 5.0),
        (Error(0, WireCode.INCOMPATIBLE, 0, "contested"), RETRY_S),
    ],
)
def test_a_failure_is_retried_after_a_pause_and_said_once(
    scene: Scene, event: Down | Error, pause_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        scene.step(0, event)
        assert scene.announcer.wakeup_s == scene.now_s + pause_s
        scene.step(pause_s)
    assert len(scene.dealers) == 4
    assert len(caplog.records) == 1


def test_an_address_that_cannot_be_used_is_retried(scene: Scene) -> None:
    scene.fails = True
    scene.step(0, Down("lost"))
    scene.step(RETRY_S)
    assert scene.announcer.wakeup_s == scene.now_s + RETRY_S


def test_babble_is_a_failure(scene: Scene) -> None:
    scene.dealers[-1].happened.append([b"babble"])
    scene.step()
    assert scene.dealers[0].closed


def test_leaving_ends_the_lease(scene: Scene) -> None:
    scene.announcer.leave(scene.now_s)
    assert scene.dealers[0].sent == []
    scene.step(0, Up())
    scene.announcer.leave(scene.now_s)
    last = scene.dealers[0].sent[-1]
    assert isinstance(last, Announce)
    assert last.lease_ms == 0
    scene.dealers[0].sent.clear()
    assert scene.step(LEASE_S, Pong(1, 0, Load())) == []
    assert scene.dealers[0].happened == []
    assert scene.step(0, Down("lost")) == []
    assert scene.step(LEASE_S) == []
    assert len(scene.dealers) == 1
    assert scene.dealers[0].closed
