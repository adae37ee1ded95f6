"""A picture of a run: plan, bytes, latency and link over time. It needs matplotlib."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from splitnet.errors import ConfigError
from splitnet.values import DEVICE

COLOURS = {
    "cloud": "#0072b2",
    "exit": "#e69f00",
    "device": "#009e73",
    "skip": "#cc79a7",
    "error": "#d55e00",
}
"""Colour of an answer by who gave it. Source: Okabe and Ito, safe for the colour-blind."""

UP_COLOUR, DOWN_COLOUR, QUIET = "#5b4a8a", "#b9b0d6", "#666666"
SHADES = ("white", "#f3f3f3")
DEAD_SHADE = "#f8dcd6"

SIZE_INCHES, DPI = (11.0, 9.0), 120
HEIGHTS = (1.3, 1.0, 1.5, 1.1)

LEAST_BYTES, LEAST_MBPS = 100, 0.1
"""Below these the axes are linear, so that nothing at all can be shown."""


@dataclass(frozen=True, slots=True)
class AnswerPoint:
    """One answer in the picture; `time_s` is when its frame arrived."""

    time_s: float
    answered_by: str
    plan: str
    uplink_bytes: int
    latency_s: float


@dataclass(frozen=True, slots=True)
class LinkPoint:
    """What the link carries from `time_s` on, in both directions."""

    time_s: float
    up_bps: float
    down_bps: float


@dataclass(frozen=True, slots=True)
class Span:
    """A phase of the run; nothing passes the link in a `dead` one."""

    name: str
    start_s: float
    end_s: float
    dead: bool


def plot(
    file: Path,
    title: str,
    answers: Sequence[AnswerPoint],
    link: Sequence[LinkPoint],
    spans: Sequence[Span],
    deadline_s: float | None = None,
) -> None:
    """Draw the picture into `file`; its ending says the format.

    Raises
    ------
    ConfigError
        The file cannot be written, or its ending names no format.
    """
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    figure.suptitle(title, fontweight="bold")
    rows = figure.subplots(len(HEIGHTS), 1, sharex=True, height_ratios=HEIGHTS)
    plans, sizes, latencies, rates = rows
    for axes in rows:
        _prepare(axes, spans)
    _draw_plans(plans, answers)
    _draw_sizes(sizes, answers)
    _draw_latencies(latencies, answers, deadline_s)
    _draw_link(rates, link)
    for span in spans:
        middle_s = (span.start_s + span.end_s) / 2
        place = {"transform": plans.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        plans.text(middle_s, 1.03, span.name, color=QUIET, fontweight="bold", **place)
    handles, labels = latencies.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write the plot {file}: {error}") from error


def _prepare(axes: Any, spans: Sequence[Span]) -> None:
    """Shade the phases and take away what says nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    for number, span in enumerate(spans):
        shade = DEAD_SHADE if span.dead else SHADES[number % len(SHADES)]
        axes.axvspan(span.start_s, span.end_s, color=shade, linewidth=0, zorder=0)


def _draw_plans(axes: Any, answers: Sequence[AnswerPoint]) -> None:
    """Draw a line for each plan: those that send most on top, those of the device below."""
    sent_bytes = defaultdict(list)
    for point in answers:
        sent_bytes[point.plan].append(point.uplink_bytes)
    mean_bytes = {plan: sum(sizes) / len(sizes) for plan, sizes in sent_bytes.items()}
    order = sorted(
        mean_bytes, key=lambda plan: (not plan.startswith(DEVICE), mean_bytes[plan], plan)
    )
    _draw_answers(axes, answers, [order.index(point.plan) for point in answers])
    axes.set_yticks(range(len(order)), order)
    axes.set_ylim(-0.6, max(len(order), 1) - 0.4)
    axes.set_ylabel("plan")


def _draw_sizes(axes: Any, answers: Sequence[AnswerPoint]) -> None:
    _draw_answers(axes, answers, [point.uplink_bytes for point in answers])
    axes.set_yscale("symlog", linthresh=LEAST_BYTES)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    most_bytes = max((point.uplink_bytes for point in answers), default=0)
    axes.set_ylim(-LEAST_BYTES / 4, 3 * max(most_bytes, LEAST_BYTES))
    axes.set_ylabel("bytes sent")


def _draw_latencies(axes: Any, answers: Sequence[AnswerPoint], deadline_s: float | None) -> None:
    _draw_answers(axes, answers, [1000 * point.latency_s for point in answers])
    if deadline_s is not None:
        axes.axhline(1000 * deadline_s, color="black", linestyle="--", label="deadline")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("latency (ms)")


def _draw_answers(axes: Any, answers: Sequence[AnswerPoint], values: Sequence[Any]) -> None:
    for who, colour in COLOURS.items():
        chosen = [i for i, point in enumerate(answers) if point.answered_by == who]
        if chosen:
            times_s = [answers[i].time_s for i in chosen]
            heights = [values[i] for i in chosen]
            axes.scatter(times_s, heights, s=9, color=colour, linewidth=0, label=who, zorder=3)


def _draw_link(axes: Any, link: Sequence[LinkPoint]) -> None:
    times_s = [point.time_s for point in link]
    up_mbps = [point.up_bps / 1e6 for point in link]
    down_mbps = [point.down_bps / 1e6 for point in link]
    both = up_mbps == down_mbps
    if not both:
        axes.step(times_s, down_mbps, where="post", label="down", color=DOWN_COLOUR, linewidth=2.5)
    axes.step(times_s, up_mbps, where="post", label="both ways" if both else "up", color=UP_COLOUR)
    axes.set_yscale("symlog", linthresh=LEAST_MBPS)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(-LEAST_MBPS / 4, 2 * max([LEAST_MBPS, *up_mbps, *down_mbps]))
    axes.set_ylabel("link (Mbit/s)")
    axes.set_xlabel("time (s)")
    if link:
        axes.legend(loc="lower left", frameon=False, ncols=2)
