"""A reactor that must be left without sockets, and a bounded way to wait for something."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from splitnet.transport.reactor import Reactor

PATIENCE_S = 5.0
"""Longest wait for something that takes milliseconds."""


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    threads = threading.active_count()
    reactor = Reactor()
    yield reactor
    reactor.close()
    assert threading.active_count() == threads


@pytest.fixture
def until(reactor: Reactor) -> Callable[[Callable[[], bool]], None]:
    """Run the reactor until a condition holds."""

    def wait(condition: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, "waited in vain"
            reactor.wait(0.02)

    return wait
