"""Waiting for descriptors and for times."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from threading import Timer

import pytest

from splitnet.sim.shaper_waiter import SPIN_S, Waiter

PATIENCE_S = 5.0


@pytest.fixture
def waiter() -> Iterator[Waiter]:
    made = Waiter()
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("sleep_s", [SPIN_S / 2, 0.003])
def test_it_waits_until_the_time_and_remembers_how_late_it_was(
    waiter: Waiter, sleep_s: float
) -> None:
    began_s = waiter.now()
    waiter.wait(began_s + sleep_s)
    assert waiter.now() >= began_s + sleep_s
    assert waiter.lateness.count == 1


def test_what_is_ready_is_handed_to_its_owner_at_once(
    waiter: Waiter, pipe: tuple[int, int]
) -> None:
    events: list[int] = []
    waiter.watch(pipe[0], select.EPOLLIN, lambda found, now_s: events.append(found))
    os.write(pipe[1], b"x")
    began_s = waiter.now()
    waiter.wait(began_s + PATIENCE_S)
    assert events == [select.EPOLLIN]
    assert waiter.now() < began_s + PATIENCE_S
    assert waiter.lateness.count == 0


def test_what_is_not_watched_any_more_is_not_handed_over(
    waiter: Waiter, pipe: tuple[int, int]
) -> None:
    events: list[int] = []
    for asked in (select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT, 0, 0):
        waiter.watch(pipe[0], asked, lambda found, now_s: events.append(found))
    os.write(pipe[1], b"x")
    waiter.wait(waiter.now() + 0.001)
    assert events == []


def test_a_time_in_the_past_still_looks_at_the_descriptors(
    waiter: Waiter, pipe: tuple[int, int]
) -> None:
    events: list[int] = []
    waiter.watch(pipe[0], select.EPOLLIN, lambda found, now_s: events.append(found))
    os.write(pipe[1], b"x")
    waiter.wait(waiter.now() - 1.0)
    assert events == [select.EPOLLIN]


def test_another_thread_may_end_a_wait(waiter: Waiter) -> None:
    began_s = waiter.now()
    timer = Timer(0.01, waiter.wake)
    timer.start()
    waiter.wait(began_s + 1.0)
    timer.join()
    assert waiter.now() < began_s + 1.0


def test_signals_end_a_wait_and_call_their_handler(waiter: Waiter) -> None:
    caught: list[str] = []
    before = signal.getsignal(signal.SIGUSR1)
    with waiter.signals({signal.SIGUSR1: lambda: caught.append("usr1")}):
        os.kill(os.getpid(), signal.SIGUSR1)
        waiter.wait(waiter.now() + PATIENCE_S)
    assert caught == ["usr1"]
    assert signal.getsignal(signal.SIGUSR1) == before
