"""A picture of accuracy over bytes; it needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from paired import paired_change
from rate_curves import Curve, Right

SIZE_INCHES, DPI = (9.0, 6.0), 120
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#666666")
"""Safe for the colour-blind. Source: Okabe and Ito."""

LOWEST_POINTS = -12.0
"""Losses below this are left out."""


def draw(title: str, groups: Sequence[tuple[Curve, Right]], file: Path) -> None:
    """Write a picture of curves, each with the whole model's answers on the same samples."""
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for number, (curve, whole) in enumerate(groups):
        changes = [paired_change(point.right, whole) for point in curve.points]
        nbytes = np.array([point.nbytes.mean() for point in curve.points])
        order = np.argsort(nbytes)
        order = order[[changes[i].points >= LOWEST_POINTS for i in order]]
        axes.errorbar(
            nbytes[order],
            [changes[i].points for i in order],
            [changes[i].interval for i in order],
            label=curve.name,
            color=COLOURS[number % len(COLOURS)],
            marker="o" if number < len(COLOURS) else "s",
            markersize=3,
            linewidth=1,
            elinewidth=0.5,
        )
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(title=title, xscale="log", xlabel="payload, bytes", ylabel="points against the whole")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
