"""Schedules as files, good and bad."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from splitnet.errors import ConfigError
from splitnet.sim.schedule import Event, outages, read_schedule

CSV = """\
at_s,event,value,direction
5,rate,500kbit,up
10, dead
15, alive

16.5,delay,40ms
20,reset
"""
TOML = """\
[[event]]
at_s = 5
event = "rate"
value = "500kbit"
direction = "up"
[[event]]
at_s = 10
event = "dead"
[[event]]
at_s = 15
event = "alive"
[[event]]
at_s = 16.5
event = "delay"
value = "40ms"
[[event]]
at_s = 20
event = "reset"
"""
EVENTS = (
    Event(5.0, "rate", 5e5, "up"),
    Event(10.0, "dead"),
    Event(15.0, "alive"),
    Event(16.5, "delay", 0.04),
    Event(20.0, "reset"),
)


@pytest.mark.parametrize(("name", "text"), [("s.csv", CSV), ("s.toml", TOML)])
def test_both_forms(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert read_schedule(file) == EVENTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: a schedule has at least one event"),
        ("at_s,event\n", "is empty"),
        ("1,die\n", r"line 1: 'die' is not one of rate, delay, dead, alive, reset"),
        ("1,deed\n", r"\(did you mean 'dead'\?\)"),
        ("1\n", "line 1: '' is not one of"),
        ("soon,dead\n", "line 1: at_s is 'soon', it must be a number of seconds from 0 on"),
        ("-1,dead\n", "line 1: at_s is '-1'"),
        ("nan,dead\n", "line 1: at_s is 'nan'"),
        (",dead\n", "line 1: at_s is None"),
        ("2,dead\n\n1,alive\n", "line 3: 1 s comes after 2 s; times must not go back"),
        ("1,rate\n", "line 1: rate needs a value"),
        ("1,rate,fast\n", "line 1: rate: 'fast' is not a number"),
        ("1,delay,5\n", "line 1: delay: '5' is not a number"),
        ("1,dead,5s\n", "line 1: dead takes no value, but '5s' is given"),
        ("1,dead,,sideways\n", "line 1: 'sideways' is not one of up, down, both"),
        ("1,reset,,up\n", "line 1: a reset concerns both directions"),
        ("1,dead,,up,5\n", "line 1 has 5 columns, at most 4 are known"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_line(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "s.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_schedule(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[event]\n", "is not a TOML file"),
        ("[event]\nat_s = 1\n", "'event' is not a list of tables"),
        ("events = []\n", "'events' is not a list of tables"),
        ("event = [1]\n", "event 1 is not a table"),
        ('[[event]]\nat = 1\nevent = "dead"\n', r"event 1: unknown key 'at' \(did you mean 'at_s'"),
        ('[[event]]\nat_s = true\nevent = "dead"\n', "event 1: at_s is True"),
    ],
)
def test_toml_that_makes_no_sense(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_schedule(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the schedule .*: No such file"):
        read_schedule(tmp_path / "nothing.csv")
    file = tmp_path / "s.csv"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not text"):
        read_schedule(file)


def test_outages_of_a_direction() -> None:
    events = (
        Event(1.0, "dead", direction="up"),
        Event(2.0, "dead", direction="down"),
        Event(3.0, "alive", direction="up"),
        Event(4.0, "dead", direction="up"),
    )
    assert outages(events, "up") == ((1.0, 3.0), (4.0, inf))
    assert outages(events, "down") == ((2.0, inf),)


@pytest.mark.parametrize("kinds", [("dead", "dead"), ("alive",), ("dead", "alive", "alive")])
def test_an_event_that_changes_nothing_is_a_mistake(kinds: tuple[str, ...]) -> None:
    events = [Event(float(i), kind) for i, kind in enumerate(kinds)]
    with pytest.raises(ConfigError, match="but the link is so already"):
        outages(events, "up")
