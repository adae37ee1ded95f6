"""A picture of early exits: who leaves where, time against accuracy, confidence against truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from splitnet.training.certify import ExitScores

SIZE_INCHES, DPI = (13.0, 4.2), 120
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00")
"""Safe for the colour-blind. Source: Okabe and Ito."""

LOWEST_POINTS = -4.0
BINS = 12
FEWEST = 15
"""Bins with fewer samples are left out: their share of right answers is chance."""


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
    _shares(share, scores, names)
    _reliability(reliable, scores, names)
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


def _shares(axes: Axes, scores: ExitScores, names: Sequence[str]) -> None:
    doubts = np.geomspace(1e-4, 0.5, 40)
    leaves = [scores.leaves_at([1 - doubt] * len(names)) for doubt in doubts]
    changes = [-100 * scores.lost([1 - doubt] * len(names)).mean() for doubt in doubts]
    floor = np.zeros(len(doubts))
    for index, (name, colour) in enumerate(zip([*names, "end"], COLOURS, strict=False)):
        top = floor + [float((found == index).mean()) for found in leaves]
        axes.fill_between(changes, floor, top, color=colour, alpha=0.6, label=name, linewidth=0)
        floor = top
    axes.set(title="who leaves where", xlabel="points against the whole", ylabel="share")
    axes.invert_xaxis()
    axes.legend(fontsize="small", loc="lower left")


def _reliability(axes: Axes, scores: ExitScores, names: Sequence[str]) -> None:
    edges = np.linspace(0, 1, BINS + 1)
    for confidence, early, name, colour in zip(
        scores.confidence, scores.early, names, COLOURS, strict=False
    ):
        bins = np.clip(np.digitize(confidence, edges) - 1, 0, BINS - 1)
        points = [
            (confidence[bins == i].mean(), early[bins == i].mean())
            for i in range(BINS)
            if (bins == i).sum() >= FEWEST
        ]
        axes.plot(*np.array(points).T, color=colour, marker="o", markersize=3, label=name)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.5)
    axes.set(title="reliability", xlabel="confidence", ylabel="share that is right")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
