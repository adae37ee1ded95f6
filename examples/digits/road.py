"""The link of the demo: good, poor, dead, and good again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from pathlib import Path
from random import Random


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run, in seconds since the shaper was ready."""

    name: str
    start_s: float
    end_s: float


GOOD = Phase("good", 0.0, 7.0)
POOR = Phase("poor", 7.0, 15.0)
DEAD = Phase("dead", 15.0, 20.0)
GOOD_AGAIN = Phase("good again", 20.0, 40.0)
PHASES = (GOOD, POOR, DEAD, GOOD_AGAIN)

GOOD_MBPS, DELAY_MS, QUEUE_BYTES = 20.0, 5, 32768

STEP_S = 0.25
"""How long a rate of the link lasts."""

POOR_MBPS, FADING, MEMORY = 2.0, 0.9, 0.85
"""Median rate of the poor phase, standard deviation of its logarithm, and of how much of that one
step reminds the next: the rate of a moving LTE device fades and recovers within some seconds."""


def rates_mbps(seed: int) -> list[float]:
    """Return the rate of each step of the run; the poor phase is drawn by `seed`."""
    fading = _fading(Random(seed))
    steps = round(GOOD_AGAIN.end_s / STEP_S)
    return [
        POOR_MBPS * exp(next(fading)) if phase_at(step * STEP_S) is POOR else GOOD_MBPS
        for step in range(steps)
    ]


def _fading(random: Random) -> Iterator[float]:
    """Yield the logarithm of the rate over its median: a first-order autoregressive process."""
    level = -FADING
    while True:
        yield level
        level = MEMORY * level + (1 - MEMORY**2) ** 0.5 * random.gauss(0, FADING)


def phase_at(time_s: float) -> Phase:
    """Return the phase that a time belongs to."""
    return next(phase for phase in reversed(PHASES) if time_s >= phase.start_s or phase is GOOD)


def link_settings(folder: Path, seed: int, lead_s: float = 0.0) -> dict[str, str | int]:
    """Write the files of the link into `folder`, and return its settings, which name them.

    The good phase lasts `lead_s` longer, and all others begin so much later.
    """
    trace, schedule = folder / "link.csv", folder / "schedule.csv"
    rates = list(enumerate(rates_mbps(seed)))
    lines = [f"{lead_s * (step > 0) + step * STEP_S:g},{rate:.3f}\n" for step, rate in rates]
    trace.write_text("".join(["t_s,mbps\n", *lines]))
    schedule.write_text(f"{lead_s + DEAD.start_s:g},dead\n{lead_s + DEAD.end_s:g},alive\n")
    return {
        "trace": str(trace),
        "trace_end": "hold",
        "delay": f"{DELAY_MS}ms",
        "queue_bytes": QUEUE_BYTES,
        "schedule": str(schedule),
    }


def write_link(folder: Path, seed: int) -> list[str]:
    """Write the files of the shaper into `folder`, and return the options that name them."""
    settings = link_settings(folder, seed)
    return [t for k, v in settings.items() for t in (f"--{k.replace('_', '-')}", str(v))]
