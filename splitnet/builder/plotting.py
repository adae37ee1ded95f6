"""Pictures of a bundle's plans: accuracy against bytes, and the best plan by link and deadline.

They need matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from splitnet.builder.plan_map import EQUAL, NONE, PlanMap, front, sent_bytes
from splitnet.errors import ConfigError
from splitnet.values import Option, OptionKind

COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#5b4a8a",
    "#8c6d31",
    "#7f7f7f",
)
"""Source: Okabe and Ito, safe for the colour-blind, and three more."""

LATE_COLOUR = "#ffffff"
DOMINATED_COLOUR = "#bbbbbb"
SIZE_INCHES, DPI = (13.0, 5.6), 120
LEAST_BYTES = 100
"""Below this the axis is linear, so that plans that send nothing can be shown."""

NARROW = 30
"""Deadlines over a smaller ratio than this are labelled between the powers of ten too."""

LABEL_OFFSETS = ((7, 7), (7, -14), (-7, 12), (-7, -18))


def plot_plans(file: Path, title: str, found: PlanMap) -> None:
    """Draw both pictures into `file`; its ending says the format.

    Raises
    ------
    ConfigError
        The file cannot be written, or its ending names no format.
    """
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    figure.suptitle(title, fontweight="bold")
    points, field = figure.subplots(1, 2)
    _draw_points(points, found)
    _draw_map(field, found)
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write the plot {file}: {error}") from error


def _draw_points(axes: Any, found: PlanMap) -> None:
    kept = {option.key for option in found.kept}
    others = [option for option in found.options if option.key not in kept]
    _scatter(axes, others, DOMINATED_COLOUR, "o", "dominated on this device")
    local = [o for o in found.kept if o.kind is OptionKind.LOCAL]
    _scatter(axes, local, COLOURS[2], "s", "on the device")
    _scatter(axes, [o for o in found.kept if o not in local], COLOURS[0], "o", "to the cloud")
    best = front(found.kept)
    axes.step(
        [sent_bytes(option) for option in best],
        [100 * option.accuracy for option in best],
        where="post",
        color="black",
        linewidth=1,
        label="Pareto front",
    )
    for number, option in enumerate(best):
        right, up = LABEL_OFFSETS[number % len(LABEL_OFFSETS)]
        axes.annotate(
            option.key,
            (sent_bytes(option), 100 * option.accuracy),
            xytext=(right, up),
            textcoords="offset points",
            ha="left" if right > 0 else "right",
            fontsize=8,
        )
    axes.set_xscale("symlog", linthresh=LEAST_BYTES)
    axes.set_xlim(left=-LEAST_BYTES / 4)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("bytes sent, on average")
    axes.set_ylabel("accuracy (%)")
    axes.set_title("accuracy against bytes")
    axes.margins(y=0.12)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="best", frameon=False, fontsize=8)


def _scatter(axes: Any, options: Sequence[Option], colour: str, marker: str, label: str) -> None:
    if options:
        sizes = [sent_bytes(option) for option in options]
        accuracies = [100 * option.accuracy for option in options]
        axes.scatter(sizes, accuracies, color=colour, marker=marker, label=label, zorder=3)


def _draw_map(axes: Any, found: PlanMap) -> None:
    winners = [int(i) for i in np.unique(found.winners) if i != NONE]
    winners.sort(key=lambda i: -np.count_nonzero(found.winners == i))
    colours = {i: COLOURS[place % len(COLOURS)] for place, i in enumerate(winners)}
    shades = [LATE_COLOUR, *colours.values()]
    cells = np.zeros_like(found.winners)
    for place, i in enumerate(winners, 1):
        cells[found.winners == i] = place
    axes.pcolormesh(
        found.bandwidths_bps / 1e6,
        1e3 * found.deadlines_s,
        cells,
        cmap=ListedColormap(shades),
        vmin=-0.5,
        vmax=len(shades) - 0.5,
        shading="nearest",
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(found.bandwidths_bps[0] / 1e6, found.bandwidths_bps[-1] / 1e6)
    axes.set_ylim(1e3 * found.deadlines_s[0], 1e3 * found.deadlines_s[-1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    narrow = found.deadlines_s[-1] < NARROW * found.deadlines_s[0]
    axes.yaxis.set_minor_formatter("{x:g}" if narrow else NullFormatter())
    axes.set_xlabel("bandwidth (Mbit/s)")
    axes.set_ylabel("deadline (ms)")
    axes.set_title(f"fastest plan in time within {100 * EQUAL:g} points of the most accurate one")
    handles = [Patch(color=colour, label=found.options[i].key) for i, colour in colours.items()]
    if (found.winners == NONE).any():
        handles.append(Patch(facecolor=LATE_COLOUR, edgecolor="black", label="none in time"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
