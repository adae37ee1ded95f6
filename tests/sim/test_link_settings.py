"""From settings to a link."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import pytest

from splitnet.errors import ConfigError
from splitnet.sim.link_settings import LinkSettings, open_link


def test_one_rate_for_both_directions() -> None:
    link, traces = open_link(LinkSettings(rate="8mbit", delay="20ms", queue_bytes=30_000))
    for way in (link.up, link.down):
        assert way.capacity.bytes_by(1.0) == 1e6
        assert way.delay.arrival_s(1.0) == 1.02
        assert way.queue_bytes == 30_000
    assert (link.resets_s, traces) == ((), ())


def test_what_is_said_of_a_direction_counts_more(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    file.write_text("1000\n")
    link, traces = open_link(LinkSettings(rate="8mbit", rate_up="16mbit", trace_down=file))
    assert link.up.capacity.bytes_by(1.0) == 2e6
    assert link.down.capacity.bytes_by(1.0) == 1500
    assert [trace.duration_s for trace in traces] == [1.0]


def test_directions_have_jitter_of_their_own_that_the_seed_decides() -> None:
    def arrivals(seed: int) -> list[tuple[float, ...]]:
        settings = LinkSettings(rate="1mbit", delay="20ms", jitter="5ms", seed=seed)
        link, _ = open_link(settings)
        ways = (link.up, link.down)
        return [tuple(way.delay.arrival_s(0.1 * i) for i in range(20)) for way in ways]

    up, down = arrivals(7)
    assert up != down
    assert arrivals(7) == [up, down]
    assert not {up, down} & set(arrivals(8))


def test_a_schedule_changes_rate_and_delay_and_kills_the_link(tmp_path: Path) -> None:
    file = tmp_path / "s.csv"
    file.write_text(
        "1,rate,16mbit\n2,dead\n3,alive\n4,delay,0ms\n5,rate,8mbit,down\n6,reset\n7,dead,,up\n"
    )
    link, _ = open_link(LinkSettings(rate="8mbit", delay="10ms", schedule=file))
    carried = [link.up.capacity.bytes_by(float(t)) for t in range(9)]
    assert carried == [0, 1e6, 3e6, 3e6, 5e6, 7e6, 9e6, 11e6, 11e6]
    assert link.up.capacity.time_of(11e6 + 1) == inf
    assert link.down.capacity.bytes_by(6.0) == 8e6
    assert link.up.delay.arrival_s(1.995) == 3.0
    assert link.up.delay.arrival_s(4.5) == 4.5
    assert link.resets_s == (6.0,)


def test_a_link_may_be_dead_from_the_beginning(tmp_path: Path) -> None:
    file = tmp_path / "s.csv"
    file.write_text("0,dead\n2,alive\n")
    link, _ = open_link(LinkSettings(rate="8mbit", schedule=file))
    assert link.up.capacity.time_of(1e6) == 3.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no rate for the direction up: give --rate, --rate-up, --trace or --trace-up"),
        ({"rate_up": "1mbit"}, "no rate for the direction down"),
        ({"rate": "1mbit", "trace": Path("x")}, "--rate and --trace are both given; choose one"),
        (
            {"rate": "1mbit", "rate_up": "1mbit", "trace_up": Path("x")},
            "--rate-up and --trace-up are both given",
        ),
        ({"rate_up": "1", "rate": "1mbit"}, "--rate-up: '1' is not a number"),
        ({"rate": "1mbit", "queue_bytes": 1499}, "--queue-bytes is 1499, it must hold a packet"),
        ({"rate": "1mbit", "trace_end": "x"}, "--trace-end 'x' is not one of"),
        ({"rate": "1mbit", "delay": "1"}, "--delay: '1' is not"),
        ({"rate": "1mbit", "jitter": "5ms"}, "--jitter is 5ms, more than the delay of 0 ms"),
        ({"trace": Path("nothing")}, "cannot read the trace nothing"),
        ({"rate": "1mbit", "schedule": Path("nothing")}, "cannot read the schedule nothing"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_link(LinkSettings(**given))


def test_a_schedule_may_not_lower_the_delay_below_the_jitter(tmp_path: Path) -> None:
    file = tmp_path / "s.csv"
    file.write_text("3,delay,2ms\n")
    with pytest.raises(ConfigError, match="more than the delay of 2 ms from 3 s on"):
        open_link(LinkSettings(rate="1mbit", delay="10ms", jitter="5ms", schedule=file))
