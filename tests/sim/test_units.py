"""Rates and durations as text."""

from __future__ import annotations

import pytest

from splitnet.errors import ConfigError
from splitnet.sim.units import parse_duration, parse_rate


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("5mbit", 5e6),
        ("0.5 Mbit", 5e5),
        ("500kbit", 5e5),
        ("1000 bit", 1000.0),
        ("2gbit", 2e9),
    ],
)
def test_rates(text: str, bps: float) -> None:
    assert parse_rate(text, "--rate") == bps


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), ("0s", 0.0), ("150 us", 0.00015)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--delay") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "mbit", "5mbps", "5MB", "-5mbit", "nanmbit", "1e999bit"])
def test_what_is_not_a_rate_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--rate: '.*' is not a number .* for instance 5mbit"):
        parse_rate(text, "--rate")


def test_a_rate_of_nothing_is_an_outage_of_the_schedule() -> None:
    with pytest.raises(ConfigError, match="--rate is 0mbit, it must be above 0"):
        parse_rate("0mbit", "--rate")


@pytest.mark.parametrize("text", ["20", "fast", "-1ms", "1min"])
def test_what_is_not_a_duration_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--delay: '.*' is not a number"):
        parse_duration(text, "--delay")
