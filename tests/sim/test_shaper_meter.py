"""What the shaper says of itself."""

from __future__ import annotations

import pytest

from splitnet.sim.capacity import constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import Direction, Pipe
from splitnet.sim.shaper_meter import Histogram, RateMeter


def test_percentiles_of_durations() -> None:
    histogram = Histogram()
    for milliseconds in range(1, 101):
        histogram.add(milliseconds / 1000)
    histogram.add(7.0)
    found = histogram.to_json()
    assert found["count"] == 101
    assert found["p50"] == pytest.approx(51, abs=0.02)
    assert found["p95"] == pytest.approx(96, abs=0.02)
    assert found["max"] == 7000.0


def test_nothing_measured() -> None:
    assert Histogram().to_json() == {"count": 0, "p50": 0.0, "p95": 0.0, "max": 0.0}


def metered(*, delay: Delay | None = None) -> tuple[Pipe, RateMeter]:
    """A meter of a link that carries 1,000 bytes a second."""
    pipe = Pipe(Direction(constant(8000), delay or Delay((0.0,), (0.5,)), 10_000))
    return pipe, RateMeter(pipe)


def test_busy_windows_are_compared_with_the_capacity() -> None:
    pipe, meter = metered()
    pipe.send(0.0, 10_000)
    for window, nbytes in enumerate((500, 1000, 980, 1000)):
        meter.roll(window)
        meter.add(nbytes)
    meter.roll(4.0)
    assert meter.delivered_bytes == 3480
    assert meter.to_json() == {
        "busy": 3,
        "other": 1,
        "asked_mbps": 0.008,
        "delivered_mbps": 0.0079,
        "error_percent_p95": 2.0,
        "error_percent_max": 2.0,
        "error_bytes_max": 20,
    }


def test_windows_with_an_empty_queue_have_no_rate() -> None:
    pipe, meter = metered()
    pipe.send(0.7, 1000)  # leaves between 0.7 s and 1.7 s, arrives half a second later
    meter.add(1000)
    meter.roll(5.0)
    assert meter.to_json() == {"busy": 0, "other": 5}


def test_windows_with_an_outage_have_no_rate() -> None:
    pipe, meter = metered(delay=Delay((0.0,), (0.5,), outages_s=((2.5, 2.6),)))
    pipe.send(0.0, 10_000)
    meter.roll(5.0)
    assert (meter.to_json()["busy"], meter.to_json()["other"]) == (2, 3)
