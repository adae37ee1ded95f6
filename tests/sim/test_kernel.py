"""Virtual time: the order of events, and the alarm of a machine."""

from __future__ import annotations

import pytest

from splitnet.errors import SplitnetError
from splitnet.sim.kernel import CHANGE, TIMER, Alarm, Kernel


def test_events_come_by_time_then_priority_then_sequence() -> None:
    kernel, seen = Kernel(), list[str]()
    kernel.at(2.0, seen.append, "late")
    kernel.at(1.0, seen.append, "timer", priority=TIMER)
    kernel.at(1.0, seen.append, "first arrival")
    kernel.at(1.0, seen.append, "second arrival")
    kernel.at(1.0, seen.append, "change", priority=CHANGE)
    kernel.run()
    assert seen == ["change", "first arrival", "second arrival", "timer", "late"]
    assert kernel.now_s == 2.0


def test_an_event_may_bring_about_others() -> None:
    kernel, seen = Kernel(), list[float]()

    def step(left: int) -> None:
        seen.append(kernel.now_s)
        if left:
            kernel.at(kernel.now_s + 0.5, step, left - 1)

    kernel.at(1.0, step, 3)
    kernel.run()
    assert seen == [1.0, 1.5, 2.0, 2.5]


def test_a_run_ends_where_it_is_told_to() -> None:
    kernel, seen = Kernel(), list[int]()
    for number in range(5):
        kernel.at(float(number), seen.append, number)
    kernel.run(until_s=2.0)
    assert seen == [0, 1, 2]
    kernel.at(3.0, kernel.stop, priority=CHANGE)
    kernel.run()
    assert seen == [0, 1, 2]
    assert kernel.now_s == 3.0


def test_nothing_can_be_scheduled_for_the_past() -> None:
    kernel = Kernel()
    kernel.at(1.0, kernel.at, 0.5, print)
    with pytest.raises(AssertionError, match=r"0\.5 s lies before 1\.0 s"):
        kernel.run()


def test_time_that_stands_still_is_an_error() -> None:
    kernel = Kernel()

    def again() -> None:
        kernel.at(kernel.now_s, again)

    kernel.at(7.0, again)
    with pytest.raises(SplitnetError, match=r"stands still at 7\.0 s"):
        kernel.run()


class Clock:
    """An alarm that notes when it rings, and a script of what it is set to."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.rung: list[float] = []
        self.alarm = Alarm(self.kernel, self._ring)

    def _ring(self) -> None:
        self.rung.append(self.kernel.now_s)
        self.alarm.set(None)

    def set_at(self, time_s: float, wanted_s: float | None) -> None:
        self.kernel.at(time_s, self.alarm.set, wanted_s)


@pytest.mark.parametrize(
    ("script", "rings"),
    [
        ([(0.0, 5.0)], [5.0]),
        ([(0.0, 5.0), (1.0, 3.0)], [3.0]),
        ([(0.0, 5.0), (1.0, 9.0)], [9.0]),
        ([(0.0, 5.0), (1.0, None)], []),
        ([(0.0, 5.0), (1.0, None), (2.0, 5.0)], [5.0]),
        ([(0.0, 5.0), (1.0, 3.0), (2.0, 5.0)], [5.0]),
        ([(0.0, 5.0), (1.0, 5.0), (2.0, 5.0)], [5.0]),
        ([(0.0, 2.0), (3.0, 1.0)], [2.0, 3.0]),
        ([(0.0, None)], []),
    ],
    ids=str,
)
def test_an_alarm_rings_at_the_moment_set_last(
    script: list[tuple[float, float | None]], rings: list[float]
) -> None:
    clock = Clock()
    for time_s, wanted_s in script:
        clock.set_at(time_s, wanted_s)
    clock.kernel.run()
    assert clock.rung == rings


def test_an_alarm_that_is_put_off_with_every_event_keeps_one_timer() -> None:
    clock = Clock()
    for number in range(1000):
        clock.set_at(number / 100, number / 100 + 20)
    events: list[None] = []
    clock.kernel.at(10.0, events.append, None)
    clock.kernel.run()
    assert clock.rung == [9.99 + 20]


def test_what_arrives_at_the_moment_of_an_alarm_comes_first() -> None:
    clock = Clock()
    clock.set_at(0.0, 1.0)
    clock.kernel.at(0.5, clock.kernel.at, 1.0, clock.alarm.set, 2.0)
    clock.kernel.run()
    assert clock.rung == [2.0]
