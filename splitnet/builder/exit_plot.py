"""Pictures of early exits: confidence against truth, who leaves where. They need matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from splitnet.errors import ConfigError
from splitnet.training.certify import ExitScores

SIZE_INCHES, DPI = (5.0, 4.2), 120
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
"""Safe for the colour-blind. Source: Okabe and Ito."""

BINS = 12
FEWEST = 15
"""Bins with fewer samples are left out: their share of right answers is chance."""


def plot_reliability(file: Path, scores: ExitScores, names: Sequence[str]) -> None:
    """Draw how often each exit is right against how sure it is (raises `ConfigError`)."""
    _plot(file, lambda axes: draw_reliability(axes, scores, names))


def plot_shares(file: Path, scores: ExitScores, names: Sequence[str]) -> None:
    """Draw who leaves where against the change of accuracy (raises `ConfigError`)."""
    _plot(file, lambda axes: draw_shares(axes, scores, names))


def draw_shares(axes: Axes, scores: ExitScores, names: Sequence[str]) -> None:
    """Draw the share that leaves at each exit, for one threshold of all, from strict to lax."""
    doubts = np.geomspace(1e-4, 0.5, 40)
    leaves = [scores.leaves_at([1 - doubt] * len(names)) for doubt in doubts]
    changes = [-100 * scores.lost([1 - doubt] * len(names)).mean() for doubt in doubts]
    floor = np.zeros(len(doubts))
    colours = [*COLOURS[: len(names)], "#999999"]
    for index, (name, colour) in enumerate(zip([*names, "end"], colours, strict=False)):
        top = floor + [float((found == index).mean()) for found in leaves]
        axes.fill_between(changes, floor, top, color=colour, alpha=0.6, label=name, linewidth=0)
        floor = top
    axes.set(title="who leaves where", xlabel="points against the whole", ylabel="share")
    axes.invert_xaxis()
    axes.legend(fontsize="small", loc="lower left")


def draw_reliability(axes: Axes, scores: ExitScores, names: Sequence[str]) -> None:
    """Draw the reliability diagram of each exit over all samples."""
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
        if points:
            axes.plot(*np.array(points).T, color=colour, marker="o", markersize=3, label=name)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.5)
    axes.set(title="reliability", xlabel="confidence", ylabel="share that is right")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _plot(file: Path, draw: Callable[[Axes], None]) -> None:
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    draw(figure.subplots())
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot draw {file}: {error}") from error
