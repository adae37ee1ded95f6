"""The demo's link, its promises, and what it shows, on answers that no process has given."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.digits.promises import broken, broken_while_dead, punctuality, while_dead
from examples.digits.road import (
    DEAD,
    GOOD,
    GOOD_MBPS,
    PHASES,
    POOR,
    STEP_S,
    phase_at,
    rates_mbps,
    write_link,
)
from examples.digits.stream import Stream, where
from examples.digits.tables import by_phase, by_plan, live_view
from splitnet.sim.schedule import outages, read_schedule
from splitnet.sim.traces import read_trace

PAGES, RATE_HZ = 500, 20.0


def answer(frame: int, **changes: Any) -> dict[str, Any]:
    """Return the line of a page: local while the link is dead, else from the cloud."""
    dead = DEAD.start_s <= frame / RATE_HZ < DEAD.end_s
    return {
        "frame": frame,
        "answered_by": "exit" if dead else "cloud",
        "plan": "device:end+exits" if dead else "input@1",
        "uplink_bytes": 0 if dead else 2900,
        "latency_ms": 20.0,
        "late_ms": -130.0,
        "timer_late_ms": 0.0,
        "late": False,
        "score": 1.0,
        "stages_ms": {"prepare": 1.0},
        "error": None,
        **changes,
    }


@pytest.fixture
def stream() -> Stream:
    made = Stream("a try", PAGES, RATE_HZ, 0.15, PHASES, first_s=0.0, exit_code=0)
    made.answers = [answer(frame) for frame in range(PAGES)]
    made.summary = {"answers": PAGES}
    return made


# --- the link -----------------------------------------------------------------------------------


def test_phases_follow_each_other() -> None:
    assert all(one.end_s == other.start_s for one, other in pairwise(PHASES))
    assert [phase_at(phase.start_s) for phase in PHASES] == list(PHASES)
    assert phase_at(-1.0) is GOOD


def test_the_poor_phase_is_drawn_by_seed() -> None:
    assert rates_mbps(3) == rates_mbps(3) != rates_mbps(4)
    steps = slice(round(POOR.start_s / STEP_S), round(POOR.end_s / STEP_S))
    poor = rates_mbps(3)[steps]
    assert len(set(poor)) == len(poor) and 0.05 < min(poor) < max(poor) < GOOD_MBPS
    assert {*rates_mbps(3)} - {*poor} == {GOOD_MBPS}


def test_the_shaper_can_read_the_link(tmp_path: Path) -> None:
    options = write_link(tmp_path, seed=1)
    trace = read_trace(Path(options[options.index("--trace") + 1]), ending="hold")
    assert trace.duration_s == PHASES[-1].end_s and len(trace.remarks) == 1
    schedule = read_schedule(Path(options[options.index("--schedule") + 1]))
    assert outages(schedule, "up") == ((DEAD.start_s, DEAD.end_s),)


# --- promises -----------------------------------------------------------------------------------


def test_a_stream_that_keeps_them(stream: Stream) -> None:
    assert broken(stream) == broken_while_dead(stream) == []
    assert punctuality(stream).startswith("the latest answer came 130.0 ms before")
    assert "15.05 to 19.8 s: 95 by the exit" in while_dead(stream)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([answer(frame) for frame in range(PAGES - 1)], r"not answered exactly once: \[499\]"),
        ([answer(0), *map(answer, range(PAGES))], r"not answered exactly once: \[0\]"),
        ([answer(0, late_ms=5.1), *map(answer, range(1, PAGES))], r"late pages: \[0\]"),
        ([answer(f, answered_by="exit") for f in range(PAGES)], "0 of 500 pages by the cloud"),
        ([answer(f, answered_by="cloud") for f in range(PAGES)], "0 of 500 pages by the exit"),
        ([answer(0, error="broken", score=None), *map(answer, range(1, PAGES))], "an error"),
    ],
)
def test_a_broken_promise_is_named(
    stream: Stream, answers: list[dict[str, Any]], message: str
) -> None:
    stream.answers = answers
    assert [problem for problem in broken(stream) if message.replace("\\", "") in problem]


def test_timers_may_be_late(stream: Stream) -> None:
    stream.answers[0] |= {"late_ms": 9.0, "timer_late_ms": 4.5}
    assert broken(stream) == []
    assert "9.0 ms behind its deadline; timers were up to 4.5 ms late" in punctuality(stream)


def test_an_edge_that_fails_is_named(stream: Stream) -> None:
    stream.exit_code = 1
    stream.summary = {}
    assert broken(stream) == [
        "a try: the summary counts None answers of 500",
        "a try: the edge process ended with code 1",
    ]


@pytest.mark.parametrize(("time_s", "kept"), [(15.0, True), (15.1, False), (19.9, True)])
def test_the_cloud_cannot_answer_over_a_dead_link(
    stream: Stream, time_s: float, kept: bool
) -> None:
    stream.answers[round(time_s * RATE_HZ)]["answered_by"] = "cloud"
    assert (not broken_while_dead(stream)) is kept


def test_a_run_that_never_got_so_far(stream: Stream) -> None:
    stream.answers = []
    assert broken_while_dead(stream) == ["no page arrived while the link was dead"]
    assert punctuality(stream) == "no answers"


# --- what people see ----------------------------------------------------------------------------


def shown(renderable: Any) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_ways() -> None:
    plans = ("input@1", "bottleneck@1+exits", "device:end+exits", "device:stage1")
    found = [where({"plan": plan}) for plan in plans]
    assert found == ["input", "bottleneck", "device", "device"]


def test_tables(stream: Stream) -> None:
    assert "device:end+exits" in shown(by_plan(stream))
    phases = shown(by_phase(stream))
    reactions = next(line for line in phases.splitlines() if "another way after" in line)
    assert [cell.strip() for cell in reactions.split("│")[2:-1]] == [
        "",
        "stays",
        "0 ms, page 1",
        "0 ms, page 1",
    ]
    assert "500 of 500 pages" in shown(live_view(stream))


def test_tables_of_a_stream_without_answers(stream: Stream) -> None:
    stream.answers = []
    assert "good again" in shown(by_phase(stream))
    assert "none yet" in shown(live_view(stream))


def test_the_picture(stream: Stream, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the extra sim")
    from examples.digits.picture import draw

    draw(stream, 1, tmp_path / "demo.png")
    assert (tmp_path / "demo.png").stat().st_size > 10_000
