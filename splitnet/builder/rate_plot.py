"""A picture of what a training reached: score against bytes. It needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from splitnet.errors import ConfigError
from splitnet.training.results import Results

SIZE_INCHES, DPI = (6.5, 4.5), 120
TEST_COLOUR, CALIBRATION_COLOUR, WHOLE_COLOUR = "#0072b2", "#e69f00", "#7f7f7f"
"""Source: Okabe and Ito, safe for the colour-blind."""


def plot_rates(file: Path, results: Results) -> None:
    """Draw score against mean payload bytes of every level into `file`.

    Raises
    ------
    ConfigError
        The file cannot be written, or its ending names no format.
    """
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{results.recipe}: {results.source} to {results.target}")
    axes.set_xlabel("mean payload, bytes")
    axes.set_ylabel("score")
    for name, colour, points in (
        ("calibration", CALIBRATION_COLOUR, [level.calibration for level in results.levels]),
        ("test", TEST_COLOUR, [level.test for level in results.levels]),
    ):
        scores, sizes = zip(*sorted(points, key=lambda point: point[1]), strict=True)
        axes.plot(sizes, scores, "o-", color=colour, label=name)
    whole = results.teacher[-1]
    if whole is not None:
        axes.axhline(whole, color=WHOLE_COLOUR, linestyle="--", label="teacher, test")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot draw {file}: {error}") from error
