"""What people see of a stream: a live view, and tables at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np
from rich.console import Group
from rich.table import Table

from examples.digits.road import Phase, phase_at
from examples.digits.stream import Answer, Stream, where

WAYS = ("cloud", "exit", "device")
"""Who may have answered."""

FIGURES = ("right", "bytes", "p50 ms", "p95 ms", "late")
"""What every table shows of answers, in this order."""


def progress_line(stream: Stream) -> str:
    """Return how far a stream is."""
    shares = Counter(answer["answered_by"] for answer in stream.answers)
    by = ", ".join(f"{shares[way]} by the {way}" for way in WAYS if shares[way])
    link = f", the link is {phase_at(stream.now_s).name}" if stream.phases else ""
    done = f"{len(stream.answers)} of {stream.pages} pages"
    return f"{stream.now_s:4.1f} s{link}: {done}, {by or 'none yet'}"


def live_view(stream: Stream) -> Group:
    """Return how far a stream is, its latest answers, and the table by plan so far."""
    latest = Table("page", "by", "plan", "right", "bytes", "ms", "where the time went, in ms")
    for answer in stream.answers[-8:]:
        longest = sorted(answer["stages_ms"].items(), key=lambda item: -item[1])[:3]
        latest.add_row(
            str(answer["frame"]),
            answer["answered_by"],
            answer["plan"],
            f"{64 * (answer['score'] or 0):.0f}/64",
            str(answer["uplink_bytes"]),
            f"{answer['latency_ms']:.0f}",
            ", ".join(f"{stage} {time_ms:.0f}" for stage, time_ms in longest),
        )
    return Group(progress_line(stream), latest, by_plan(stream))


def by_plan(stream: Stream, title: str = "") -> Table:
    """Return a line for each plan and who answered, and one for all."""
    table = _table(title, "by", "plan", "share", *FIGURES)
    ways = sorted({(answer["answered_by"], answer["plan"]) for answer in stream.answers})
    for way in [*ways, None]:
        rows = [a for a in stream.answers if way in (None, (a["answered_by"], a["plan"]))]
        share = f"{len(rows) / max(len(stream.answers), 1):.0%}"
        ends = bool(ways) and way == ways[-1]
        table.add_row(*(way or ("all", "")), share, *_figures(rows), end_section=ends)
    return table


def by_phase(stream: Stream, title: str = "") -> Table:
    """Return a column for each phase of the link."""
    table = _table(title, "", *(phase.name for phase in stream.phases))
    phases = [stream.between(phase.start_s, phase.end_s) for phase in stream.phases]
    table.add_row("pages", *(str(len(rows)) for rows in phases))
    for name, cells in zip(FIGURES, zip(*map(_figures, phases), strict=True), strict=True):
        table.add_row(name, *cells, end_section=name == FIGURES[-1])
    for kind, key, values in (
        ("by the ", "answered_by", list(WAYS)),
        ("", "plan", sorted({answer["plan"] for answer in stream.answers})),
    ):
        for value in values:
            counts = [sum(answer[key] == value for answer in rows) for rows in phases]
            table.add_row(f"{kind}{value}", *map(str, counts), end_section=value == values[-1])
    table.add_row("another way after", *(_reaction(stream, phase) for phase in stream.phases))
    return table


def _table(title: str, *names: str) -> Table:
    return Table(*names, title=title or None, title_justify="left")


def _figures(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the `FIGURES` of some answers."""
    if not answers:
        yield from [""] * len(FIGURES)
        return
    latencies_ms = [answer["latency_ms"] for answer in answers]
    yield f"{fmean(answer['score'] or 0.0 for answer in answers):.2%}"
    yield f"{fmean(answer['uplink_bytes'] for answer in answers):.0f}"
    yield from (f"{np.percentile(latencies_ms, percent):.1f}" for percent in (50, 95))
    yield str(sum(answer["late"] for answer in answers))


def _reaction(stream: Stream, phase: Phase) -> str:
    """Return how soon after the phase began a page took another way than the last one before."""
    before = stream.between(0.0, phase.start_s)
    if not before:
        return ""
    for number, answer in enumerate(stream.between(phase.start_s, phase.end_s), 1):
        if where(answer) != where(before[-1]):
            after_ms = 1000 * (stream.arrived_s(answer) - phase.start_s)
            return f"{after_ms:.0f} ms, page {number}"
    return "stays"
