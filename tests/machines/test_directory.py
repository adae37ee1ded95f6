"""The directory machine, fed with lists of events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from splitnet.errors import WireCode
from splitnet.machines.directory import DirectoryAction, DirectoryConfig, DirectoryMachine
from splitnet.machines.worker_io import PeerGarbled, PeerMessage, SendTo, WorkerReport, WorkerTick
from splitnet.values import Load
from splitnet.wire import (
    Announce,
    Bye,
    Error,
    Hello,
    Lookup,
    Message,
    Offer,
    Ping,
    Pong,
    WorkerOffer,
)

A, B, C = (bytes([n]) * 32 for n in range(3))
LEASE_MS = 3000


def announce(worker: int, *paths: bytes, lease_ms: int = LEASE_MS, wait_us: int = 0) -> Announce:
    load = Load(wait_us=wait_us)
    return Announce(worker, f"tcp://127.0.0.1:{worker}", b"", lease_ms, load, paths or (A,))


def sent(actions: list[DirectoryAction]) -> list[Message]:
    return [action.message for action in actions if isinstance(action, SendTo)]


def reports(actions: list[DirectoryAction]) -> list[str]:
    return [action.event for action in actions if isinstance(action, WorkerReport)]


class Directory:
    """A directory machine with a clock in the test's hand."""

    def __init__(self, config: DirectoryConfig | None = None) -> None:
        self.machine = DirectoryMachine(config or DirectoryConfig())
        self.now_s = 100.0

    def take(self, *messages: Message) -> list[DirectoryAction]:
        actions: list[DirectoryAction] = []
        for message in messages:
            actions += self.machine.handle(PeerMessage(b"peer", message), self.now_s)
        return actions

    def offers(self, *paths: bytes) -> tuple[WorkerOffer, ...]:
        [offer] = sent(self.take(Lookup(paths or (A,))))
        assert isinstance(offer, Offer)
        return offer.workers

    def workers(self, *paths: bytes) -> list[int]:
        return [offer.worker for offer in self.offers(*paths)]


@pytest.fixture
def directory() -> Directory:
    return Directory()


def test_nobody_is_offered_before_somebody_is_announced(directory: Directory) -> None:
    assert directory.offers() == ()
    assert directory.machine.counters["unanswerable"] == 1


def test_a_worker_is_offered_as_it_announced_itself(directory: Directory) -> None:
    load = Load(queued=3, wait_us=2000, busy_permille=500, batch=2)
    directory.take(replace(announce(7), key=b"k" * 32, load=load))
    directory.now_s += 1
    assert directory.offers() == (
        WorkerOffer(7, "tcp://127.0.0.1:7", b"k" * 32, b"", LEASE_MS - 1000, load),
    )


def test_only_workers_that_serve_a_wanted_path_are_offered(directory: Directory) -> None:
    directory.take(announce(1, A), announce(2, B), announce(3, A, B))
    assert directory.workers(A, B) == [3, 1, 2]
    assert directory.workers(C) == []


def test_the_least_loaded_comes_first(directory: Directory) -> None:
    directory.take(announce(1, wait_us=500), announce(2, wait_us=100), announce(3, wait_us=300))
    assert directory.workers() == [2, 3, 1]
    directory.take(announce(2, wait_us=900))
    assert directory.workers() == [3, 1, 2]


def test_workers_that_are_alike_are_named_in_turn(directory: Directory) -> None:
    directory.take(*map(announce, (1, 2, 3)))
    assert [directory.workers()[0] for _ in range(6)] == [1, 2, 3, 1, 2, 3]


def test_a_lease_ends_and_is_renewed(directory: Directory) -> None:
    directory.take(announce(1), announce(2))
    assert directory.machine.wakeup_s == directory.now_s + 3
    directory.now_s += 2
    directory.take(announce(1))
    directory.now_s += 1
    actions = directory.machine.handle(WorkerTick(), directory.now_s)
    assert reports(actions) == ["worker-silent"]
    assert directory.workers() == [1]
    directory.now_s += 2
    assert directory.workers() == []
    assert directory.machine.wakeup_s is None
    assert directory.machine.counters["worker-silent"] == 2


def test_a_worker_that_leaves_is_forgotten_at_once(directory: Directory) -> None:
    directory.take(announce(1))
    assert reports(directory.take(announce(1, lease_ms=0))) == ["worker-left"]
    assert directory.workers() == []
    assert directory.take(announce(1, lease_ms=0)) == []


def test_a_worker_that_was_restarted_replaces_its_older_run(directory: Directory) -> None:
    directory.take(announce(1))
    actions = directory.take(replace(announce(2), endpoint="tcp://127.0.0.1:1"))
    assert reports(actions) == ["worker-replaced", "worker-found"]
    assert directory.workers() == [2]


def test_a_lease_above_the_limit_is_refused() -> None:
    """Cut short it would end before the worker, which does not know, announces itself again."""
    directory = Directory(DirectoryConfig(max_lease_s=5.0))
    [error] = sent(directory.take(announce(1, lease_ms=5001)))
    assert isinstance(error, Error)
    assert error.detail == "a lease of 5.001 s, at most 5 are allowed here: lower --lease-s"
    directory.take(announce(2, lease_ms=5000))
    assert directory.workers() == [2]
    assert directory.machine.counters["long_leases"] == 1


@pytest.mark.parametrize(
    ("lie", "code", "counter"),
    [
        (replace(announce(1), endpoint="tcp://127.0.0.1:9"), WireCode.INCOMPATIBLE, "contested"),
        (replace(announce(1), key=b"k" * 32), WireCode.INCOMPATIBLE, "contested"),
        (replace(announce(5), paths=()), WireCode.MALFORMED, "empty"),
        (replace(announce(5), endpoint=""), WireCode.MALFORMED, "empty"),
        (Hello((1,), (), (), 1, "edge"), WireCode.UNSUPPORTED, "unsupported"),
        (Offer(()), WireCode.UNSUPPORTED, "unsupported"),
    ],
)
def test_lies_are_refused_and_counted(
    directory: Directory, lie: Message, code: WireCode, counter: str
) -> None:
    directory.take(announce(1))
    [error] = sent(directory.take(lie))
    assert isinstance(error, Error)
    assert (error.request, error.code) == (0, code)
    assert directory.machine.counters[counter] == 1
    assert [offer.endpoint for offer in directory.offers()] == ["tcp://127.0.0.1:1"]


def test_garbage_is_refused_and_counted(directory: Directory) -> None:
    garbled = PeerGarbled(b"peer", WireCode.MALFORMED, "not a message")
    [error] = sent(directory.machine.handle(garbled, directory.now_s))
    assert error == Error(0, WireCode.MALFORMED, 0, "not a message")
    assert directory.machine.counters["garbled"] == 1


def test_a_directory_that_is_full_refuses_strangers_and_keeps_its_own() -> None:
    directory = Directory(DirectoryConfig(max_workers=2, retry_after_ms=700))
    directory.take(announce(1), announce(2))
    [error] = sent(directory.take(announce(3)))
    assert isinstance(error, Error)
    assert (error.code, error.retry_after_ms) == (WireCode.OVERLOAD, 700)
    assert sent(directory.take(announce(2))) == []
    assert directory.machine.workers == 2
    directory.take(announce(1, lease_ms=0), announce(3))
    assert sorted(directory.workers()) == [2, 3]


def test_an_offer_is_bounded() -> None:
    directory = Directory(DirectoryConfig(max_offers=3))
    directory.take(*map(announce, range(1, 10)))
    assert len(directory.offers()) == 3


def test_pings_are_answered_and_byes_are_not(directory: Directory) -> None:
    actions = directory.take(Ping(4, 5), Bye(WireCode.DRAINING, ""))
    assert sent(actions) == [Pong(4, 5, Load())]
