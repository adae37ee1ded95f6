"""Finding workers with scripted dealers: what is tried when, and when the directory is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from splitnet.edge.finding import Finder, FoundConnection
from splitnet.errors import ConfigError, WireCode
from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.values import Load
from splitnet.wire import Error, Lookup, Message, Offer, Pong, WorkerOffer, decode, encode

LEASE_S = 10.0
A, B, C = "tcp://a:1", "tcp://b:1", "tcp://c:1"


class ScriptedDealer:
    """Notes what is sent and yields the events that the test puts in."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.happened: list[Up | Down | list[bytes]] = []
        self.sent: list[Message] = []
        self.closed = False

    def open(self) -> None:
        pass

    def close(self, linger_s: float = 0.0) -> None:
        del linger_s
        self.closed = True

    def send(self, frames: list[bytes]) -> None:
        self.sent.append(decode([bytes(frame) for frame in frames]))

    def events(self) -> Iterator[Up | Down | list[bytes]]:
        while self.happened:
            yield self.happened.pop(0)


class Scene:
    """A finder, the dealers that it opened, and the time."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.directories: list[ScriptedDealer] = []
        self.workers: list[ScriptedDealer] = []
        self.finder = Finder((b"p" * 32,), self._directory, self._worker, lambda: self.now_s)
        self.link: FoundConnection | None = None

    def _directory(self) -> Dealer:
        self.directories.append(ScriptedDealer("directory"))
        return cast("Dealer", self.directories[-1])

    def _worker(self, offer: WorkerOffer) -> Dealer:
        if offer.endpoint == "nonsense":
            raise ConfigError("nonsense is not an endpoint")
        self.workers.append(ScriptedDealer(offer.endpoint))
        return cast("Dealer", self.workers[-1])

    def connect(self) -> None:
        """Open a connection, as the agent does after the last one went down."""
        if self.link is not None:
            self.link.close()
        self.link = self.finder.connection()
        self.link.open()

    def directory_says(self, *events: Up | Down | Message) -> list[Up | Down | list[bytes]]:
        for event in events:
            raw = event if isinstance(event, Up | Down) else list(map(bytes, encode(event)))
            self.directories[-1].happened.append(raw)
        assert self.link is not None
        return list(self.link.events())

    @property
    def tried(self) -> list[str]:
        return [worker.endpoint for worker in self.workers]


def offer(*endpoints: str, lease_s: float = LEASE_S) -> Offer:
    lease_ms = round(1000 * lease_s)
    return Offer(
        tuple(
            WorkerOffer(n, endpoint, b"", b"", lease_ms, Load())
            for n, endpoint in enumerate(endpoints)
        )
    )


@pytest.fixture
def scene() -> Scene:
    """A first lookup is under way."""
    scene = Scene()
    scene.connect()
    return scene


def test_the_first_offer_is_tried_and_used_like_a_dealer(scene: Scene) -> None:
    assert scene.directory_says(Up(), offer(A, B)) == []
    assert scene.directories[0].sent == [Lookup((b"p" * 32,))]
    assert scene.directories[0].closed
    assert scene.tried == [A]
    worker = scene.workers[0]
    worker.happened = [Up(), [b"reply"]]
    assert scene.link is not None
    assert list(scene.link.events()) == [Up(), [b"reply"]]
    scene.link.send([bytes(part) for part in encode(Lookup(()))])
    assert worker.sent == [Lookup(())]
    scene.link.close()
    assert worker.closed


def test_the_next_offer_is_tried_without_a_lookup_and_then_a_fresh_one(scene: Scene) -> None:
    scene.directory_says(Up(), offer(A, B))
    scene.now_s += 0.1
    scene.connect()
    assert (scene.tried, len(scene.directories)) == ([A, B], 1)
    scene.now_s += 0.1
    scene.connect()
    assert len(scene.directories) == 2
    scene.directory_says(Up(), offer(A, B, C))
    assert scene.tried == [A, B, C]


def test_an_offer_does_not_outlive_its_lease(scene: Scene) -> None:
    scene.directory_says(Up(), offer(A, B))
    scene.now_s += LEASE_S
    scene.connect()
    assert (scene.tried, len(scene.directories)) == ([A], 2)


def test_a_worker_that_failed_long_ago_is_as_good_as_any(scene: Scene) -> None:
    scene.directory_says(Up(), offer(A))
    scene.now_s += 3600
    scene.connect()
    scene.directory_says(Up(), offer(A, B))
    assert scene.tried == [A, A]


@pytest.mark.parametrize(
    "failure",
    [
        Down("nobody listens there"),
        Error(0, WireCode.OVERLOAD, 0, "full"),
        Pong(1, 0, Load()),
        Offer(()),
    ],
    ids=["down", "error", "other", "empty"],
)
def test_what_was_said_before_is_tried_when_the_directory_fails(
    scene: Scene, failure: Down | Message
) -> None:
    scene.directory_says(Up(), offer(A, B))
    for expected in (B, A, B):
        scene.now_s += LEASE_S
        scene.connect()
        assert scene.directory_says(failure) == []
        assert scene.tried[-1] == expected


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Down("x: nobody listens there"), "directory x: nobody listens there"),
        (Error(0, WireCode.OVERLOAD, 0, "full"), "the directory refused: overload: full"),
        (Pong(1, 0, Load()), "answered with pong"),
        (Offer(()), "knows no worker"),
    ],
    ids=["down", "error", "other", "empty"],
)
def test_without_any_worker_the_connection_is_down(
    scene: Scene, failure: Down | Message, reason: str
) -> None:
    [down] = scene.directory_says(failure)
    assert isinstance(down, Down)
    assert reason in down.reason
    assert scene.finder.counters["lookups"] == 1


def test_a_silent_directory_is_passed_over_every_other_time(scene: Scene) -> None:
    scene.directory_says(Up(), offer(A))
    scene.now_s += LEASE_S
    scene.connect()
    assert (len(scene.directories), scene.tried) == (2, [A])
    scene.connect()
    assert (len(scene.directories), scene.tried) == (2, [A, A])
    scene.connect()
    assert len(scene.directories) == 3


def test_offers_that_cannot_be_used_are_counted_and_passed_over(scene: Scene) -> None:
    scene.directory_says(Up(), offer("nonsense", A))
    assert scene.tried == [A]
    assert scene.finder.counters["unusable_offers"] == 1
