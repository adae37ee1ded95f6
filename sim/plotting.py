"""A picture of a run: plan, bytes, latency and link over time. It needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from splitnet.errors import ConfigError

COLOURS = {"cloud": "tab:blue", "exit": "tab:orange", "device": "tab:green", "error": "tab:red"}
"""Colour of an answer by who gave it."""

SIZE_INCHES, DPI = (10.0, 9.0), 110


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
    figure.suptitle(title)
    plans, sizes, latencies, rates = figure.subplots(
        4, 1, sharex=True, height_ratios=(1.2, 1.0, 1.2, 1.0)
    )
    _draw_answers(plans, answers, [point.plan for point in answers])
    plans.set_ylabel("plan")
    plans.invert_yaxis()
    _draw_answers(sizes, answers, [point.uplink_bytes for point in answers])
    sizes.set_ylabel("bytes sent")
    sizes.set_yscale("symlog", linthresh=100)
    sizes.yaxis.set_major_formatter("{x:.0f}")
    _draw_answers(latencies, answers, [1000 * point.latency_s for point in answers])
    latencies.set_ylabel("latency (ms)")
    if deadline_s is not None:
        latencies.axhline(1000 * deadline_s, color="black", linestyle="--", label="deadline")
    latencies.set_ylim(bottom=0)
    figure.legend(*latencies.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    _draw_link(rates, link)
    for axes in (plans, sizes, latencies, rates):
        _draw_spans(axes, spans)
    for span in spans:
        plans.text(span.start_s, 1.02, f" {span.name}", transform=plans.get_xaxis_transform())
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write the plot {file}: {error}") from error


def _draw_answers(axes: Any, answers: Sequence[AnswerPoint], values: Sequence[Any]) -> None:
    for who, colour in COLOURS.items():
        chosen = [i for i, point in enumerate(answers) if point.answered_by == who]
        if chosen:
            times_s = [answers[i].time_s for i in chosen]
            axes.scatter(times_s, [values[i] for i in chosen], s=6, color=colour, label=who)


def _draw_link(axes: Any, link: Sequence[LinkPoint]) -> None:
    times_s = [point.time_s for point in link]
    down_mbps = [point.down_bps / 1e6 for point in link]
    up_mbps = [point.up_bps / 1e6 for point in link]
    axes.step(times_s, down_mbps, where="post", label="down", color="silver", linewidth=3)
    axes.step(times_s, up_mbps, where="post", label="up", color="tab:purple")
    axes.set_ylabel("link (Mbit/s)")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time (s)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _draw_spans(axes: Any, spans: Sequence[Span]) -> None:
    for span in spans:
        axes.axvline(span.start_s, color="lightgrey", linewidth=0.8, zorder=0)
        if span.dead:
            axes.axvspan(span.start_s, span.end_s, color="mistyrose", zorder=0)
