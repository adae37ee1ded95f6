"""A picture of early exits: who leaves where, time against accuracy, confidence against truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from splitnet.builder.exit_plot import COLOURS, draw_reliability, draw_shares
from splitnet.training.certify import ExitScores

SIZE_INCHES, DPI = (13.0, 4.2), 120
LOWEST_POINTS = -4.0


@dataclass(frozen=True)
class Curve:
    """Speed-up and change of accuracy in points, from the safest thresholds on."""

    name: str
    points: tuple[tuple[float, float], ...]


def draw(curves: Sequence[Curve], scores: ExitScores, names: Sequence[str], file: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    trade, share, reliable = figure.subplots(1, 3)
    _trade_off(trade, curves)
    draw_shares(share, scores, names)
    draw_reliability(reliable, scores, names)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _trade_off(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve, colour in zip(curves, COLOURS, strict=False):
        points = np.array([point for point in curve.points if point[1] >= LOWEST_POINTS])
        axes.plot(points[:, 0], points[:, 1], color=colour, label=curve.name, linewidth=1.2)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(title="time saved", xlabel="speed-up, mean", ylabel="points against the whole")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
