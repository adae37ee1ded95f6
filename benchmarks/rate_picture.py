"""A picture of accuracy over bytes; it needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure
from paired import paired_change
from rate_curves import Curve, Right, own_front

SIZE_INCHES, DPI = (9.0, 6.0), 120
BASELINES = {"jpeg": "#d55e00", "webp": "#e69f00", "activations": "#999999"}
LEARNED = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#000000")
"""Colours, safe for the colour-blind. Source: Okabe and Ito."""

STYLES = {"without container": ":", "as is": "--", "resent": "-."}

LOWEST_POINTS = -12.0
"""Losses below this are left out."""


def draw(title: str, groups: Sequence[tuple[Curve, Right]], file: Path) -> None:
    """Write a picture of curves, each with the whole model's answers on the same samples.

    Only settings are drawn that no other one of their curve beats.
    """
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    colours = cycle(LEARNED)
    for curve, whole in groups:
        kept = {nbytes for nbytes, _ in own_front(curve, whole)}
        points = [point for point in curve.points if float(point.nbytes.mean()) in kept]
        points.sort(key=lambda point: float(point.nbytes.mean()))
        changes = [paired_change(point.right, whole) for point in points]
        shown = [i for i, change in enumerate(changes) if change.points >= LOWEST_POINTS]
        baseline = BASELINES.get(curve.name.partition(" ")[0])
        style = next((style for word, style in STYLES.items() if word in curve.name), "-")
        axes.errorbar(
            [float(points[i].nbytes.mean()) for i in shown],
            [changes[i].points for i in shown],
            [changes[i].interval for i in shown],
            label=curve.name,
            color=baseline or next(colours),
            linestyle=style,
            marker="s" if baseline else "o",
            markersize=2 if baseline else 4,
            linewidth=1 if baseline else 1.5,
            elinewidth=0.4,
        )
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(title=title, xscale="log", xlabel="payload, bytes", ylabel="points against the whole")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
