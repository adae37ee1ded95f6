"""From the tables of a scenario to a link whose rate and delay follow the phases."""

from __future__ import annotations

import re
from math import inf
from pathlib import Path

import pytest

from splitnet.errors import ConfigError
from splitnet.sim.link import Pipe
from splitnet.sim.phased_link import LinkTable, Phase, open_phases

LINK: LinkTable = {"rate": "8mbit", "delay": "10ms"}
ALL = (Phase("all", 0.0),)


def sent_s(link: LinkTable, phases: tuple[Phase, ...], at_s: float, nbytes: int = 10_000) -> float:
    """Return how long a payload takes up the link at a time of the run."""
    opened, _ = open_phases(link, phases, seed=0)
    return Pipe(opened.up).send(at_s, nbytes) - at_s


def test_one_phase_is_the_link_itself() -> None:
    assert sent_s(LINK, ALL, 5.0) == pytest.approx(0.010 + 0.010)


def test_each_phase_differs_from_the_link_and_not_from_the_phase_before() -> None:
    phases = (
        Phase("good", 0.0),
        Phase("slow", 10.0, link={"rate_up": "800kbit"}),
        Phase("far", 20.0, link={"delay": "100ms"}),
        Phase("good again", 30.0),
    )
    assert sent_s(LINK, phases, 5.0) == pytest.approx(0.010 + 0.010)
    assert sent_s(LINK, phases, 15.0) == pytest.approx(0.100 + 0.010)
    assert sent_s(LINK, phases, 25.0) == pytest.approx(0.010 + 0.100)
    assert sent_s(LINK, phases, 35.0) == pytest.approx(0.010 + 0.010)


def test_nothing_passes_a_dead_phase_and_all_of_it_after() -> None:
    phases = (Phase("good", 0.0), Phase("dead", 10.0, dead=True), Phase("good again", 20.0))
    assert sent_s(LINK, phases, 15.0) == pytest.approx(5.0 + 0.010 + 0.010)
    # What had left the queue in time is on its way all the same, and arrives when all can.
    assert sent_s(LINK, phases, 9.985) >= 0.015 + 10.0
    assert sent_s(LINK, (*phases[:1], Phase("dead", 10.0, dead=True)), 15.0) == inf


def test_a_trace_of_a_phase_takes_the_place_of_the_rate(tmp_path: Path) -> None:
    trace = tmp_path / "slow.csv"
    trace.write_text("t_s,mbps\n0,0.8\n1,0.8\n")
    phases = (Phase("good", 0.0), Phase("traced", 10.0, link={"trace": str(trace)}))
    assert sent_s(LINK, phases, 5.0) == pytest.approx(0.020)
    assert sent_s(LINK, phases, 15.0) == pytest.approx(0.110)
    only_up = (Phase("good", 0.0), Phase("traced", 10.0, link={"trace_up": str(trace)}))
    opened, _ = open_phases(LINK, only_up, seed=0)
    assert Pipe(opened.down).send(15.0, 10_000) == pytest.approx(15.020)


def test_a_schedule_is_the_shapers(tmp_path: Path) -> None:
    schedule = tmp_path / "schedule.csv"
    schedule.write_text("10,rate,800kbit\n20,reset\n")
    link = {**LINK, "schedule": str(schedule)}
    named = (Phase("first", 0.0), Phase("second", 10.0))
    assert sent_s(link, named, 15.0) == pytest.approx(0.110)
    assert open_phases(link, named, 0)[0].resets_s == (20.0,)
    dying = (Phase("first", 0.0), Phase("second", 10.0, dead=True))
    with pytest.raises(ConfigError, match=r"link\.schedule: the phases say what changes and when"):
        open_phases(link, dying, 0)


def test_jitter_is_drawn_by_seed() -> None:
    link = {**LINK, "jitter": "5ms"}
    phases = (Phase("one", 0.0), Phase("dead", 50.0, dead=True))

    def arrivals(seed: int, over: tuple[Phase, ...]) -> list[float]:
        pipe = Pipe(open_phases(link, over, seed)[0].up)
        return [pipe.send(number / 10, 100) for number in range(100)]

    assert arrivals(1, phases) == arrivals(1, phases)
    assert arrivals(1, phases) != arrivals(2, phases)
    assert arrivals(1, phases) == arrivals(1, ALL), "phases must not change the jitter"


ODD = {
    "ends early": ("0,8\n1,8\n", "stop", r"ends after 2\.0 s, then the link carries nothing"),
    "has a gap": (
        "".join(f"{t},8\n" for t in [0, 1, 2, 3, 4, 30, 31]),
        "loop",
        r"has 1 gaps?, the longest of 26\.0 s from 4\.0 s on",
    ),
}


@pytest.mark.parametrize(("lines", "ending", "remark"), ODD.values(), ids=ODD.keys())
def test_what_is_odd_about_a_trace_is_said(
    tmp_path: Path, lines: str, ending: str, remark: str
) -> None:
    trace = tmp_path / "odd.csv"
    trace.write_text("t_s,mbps\n" + lines)
    _, remarks = open_phases({"trace": str(trace), "trace_end": ending}, ALL, 0)
    assert any(re.search(remark, said) for said in remarks), remarks


MISTAKES: dict[str, tuple[LinkTable, tuple[Phase, ...], str]] = {
    "unknown key": ({"rat": "1mbit"}, ALL, r"link: unknown key 'rat' \(did you mean 'rate'\?\)"),
    "seed": ({**LINK, "seed": 1}, ALL, "link: unknown key 'seed'"),
    "rate and trace": ({**LINK, "trace": "x.csv"}, ALL, "link: .*are both given; choose one"),
    "queue in a phase": (
        LINK,
        (Phase("a", 0.0, link={"queue_bytes": 9000}),),
        r"phases \(a\): link: unknown key 'queue_bytes'",
    ),
    "delay of a phase below the jitter": (
        {**LINK, "jitter": "5ms"},
        (Phase("a", 0.0), Phase("b", 1.0, link={"delay": "1ms"})),
        r"phases \(b\): link: --jitter is 5ms, more than the delay of 1 ms",
    ),
    "bad unit in a phase": (
        LINK,
        (Phase("a", 0.0, link={"rate": "5 furlongs"}),),
        r"phases \(a\): link: --rate: '5 furlongs' is not",
    ),
    "small queue": ({**LINK, "queue_bytes": 10}, ALL, "link: --queue-bytes is 10"),
}


@pytest.mark.parametrize(("link", "phases", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named(link: LinkTable, phases: tuple[Phase, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_phases(link, phases, 0)
