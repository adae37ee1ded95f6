"""Waking, timing and signals."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from splitnet.transport.reactor import Reactor


def test_wait_lasts_as_long_as_asked_and_is_precise_below_a_millisecond(reactor: Reactor) -> None:
    overshoots = []
    for _ in range(20):
        began_s = time.monotonic()
        reactor.wait(0.0025)
        overshoots.append(time.monotonic() - began_s - 0.0025)
    assert min(overshoots) >= 0
    assert min(overshoots) < 0.0005  # rounding up to milliseconds would make it 0.5 ms and more


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
def test_a_time_that_has_passed_does_not_block(reactor: Reactor, timeout_s: float) -> None:
    began_s = time.monotonic()
    reactor.wait(timeout_s)
    assert time.monotonic() - began_s < 0.5


@pytest.mark.parametrize("timeout_s", [None, 60.0, 0.0009])
def test_another_thread_wakes_it(reactor: Reactor, timeout_s: float | None) -> None:
    waker = threading.Thread(target=reactor.wake)
    waker.start()
    reactor.wait(timeout_s)
    waker.join()


def test_wake_ups_pile_up_without_blocking_and_are_taken_together(reactor: Reactor) -> None:
    for _ in range(100_000):  # more than a pipe holds
        reactor.wake()
    for _ in range(20):
        reactor.wait(0.0)
    began_s = time.monotonic()
    reactor.wait(0.01)
    assert time.monotonic() - began_s >= 0.01


def test_the_first_signal_asks_to_stop_and_the_second_interrupts(reactor: Reactor) -> None:
    before = signal.getsignal(signal.SIGTERM)
    asked = []
    with pytest.raises(KeyboardInterrupt), reactor.stop_signals(lambda: asked.append(1)):
        os.kill(os.getpid(), signal.SIGTERM)
        reactor.wait(None)  # ends, since the signal wakes the reactor
        assert asked == [1]
        os.kill(os.getpid(), signal.SIGINT)
        reactor.wait(None)
    assert asked == [1]
    assert signal.getsignal(signal.SIGTERM) is before
