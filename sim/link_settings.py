"""What a link is made of, on the command line or in a file, and the link made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from splitnet.errors import ConfigError
from splitnet.sim.capacity import Capacity, Switched, constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import PACKET_BYTES, Direction, Link
from splitnet.sim.schedule import DELAY, DOWN, RATE, RESET, UP, Event, outages, read_schedule
from splitnet.sim.traces import ENDINGS, LOOP, Trace, read_trace
from splitnet.sim.units import parse_duration, parse_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Settings of a link; the names are those of the options of ``splitnet sim shape``.

    Attributes
    ----------
    rate, rate_up, rate_down
        A constant rate such as ``5mbit``; one for a direction counts more than one for both.
    trace, trace_up, trace_down
        A file instead of a constant rate (`splitnet.sim.traces`).
    trace_name, trace_end
        Which trace of a file with several, and what comes after its end.
    delay, jitter
        One way; jitter is spread evenly around the delay and does not exceed it.
    queue_bytes
        Bound on what waits in each direction.
    schedule
        A file of changes (`splitnet.sim.schedule`).
    seed
        Of the jitter.
    """

    rate: str | None = None
    rate_up: str | None = None
    rate_down: str | None = None
    trace: Path | None = None
    trace_up: Path | None = None
    trace_down: Path | None = None
    trace_name: str | None = None
    trace_end: str = LOOP
    delay: str = "0ms"
    jitter: str = "0ms"
    queue_bytes: int = 65536
    schedule: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.queue_bytes < PACKET_BYTES:
            raise ConfigError(
                f"--queue-bytes is {self.queue_bytes}, it must hold a packet, "
                f"so {PACKET_BYTES} at least"
            )
        if self.trace_end not in ENDINGS:
            raise ConfigError(f"--trace-end {self.trace_end!r} is not one of {', '.join(ENDINGS)}")


def open_link(settings: LinkSettings) -> tuple[Link, tuple[Trace, ...]]:
    """Read the files of a link; return it and the traces that it follows.

    Raises
    ------
    ConfigError
        A file or a value cannot be used, a rate is missing, or a direction has two.
    """
    events = () if settings.schedule is None else read_schedule(settings.schedule)
    traces: dict[Path, Trace] = {}
    link = Link(
        _direction(settings, UP, events, traces),
        _direction(settings, DOWN, events, traces),
        tuple(event.at_s for event in events if event.event == RESET),
    )
    return link, tuple(traces.values())


def _direction(
    settings: LinkSettings, name: str, events: Sequence[Event], traces: dict[Path, Trace]
) -> Direction:
    concerned = [event for event in events if event.concerns(name)]
    dead_s = outages(events, name)
    capacity = _base_capacity(settings, name, traces)
    return Direction(
        capacity=_switched(capacity, concerned, dead_s),
        delay=_delay(settings, name, concerned, dead_s),
        queue_bytes=settings.queue_bytes,
    )


def _base_capacity(settings: LinkSettings, name: str, traces: dict[Path, Trace]) -> Capacity:
    """Return the capacity that holds until the schedule says otherwise."""
    for which in (f"_{name}", ""):
        rate: str | None = getattr(settings, "rate" + which)
        trace: Path | None = getattr(settings, "trace" + which)
        options = [f"--{kind}{which.replace('_', '-')}" for kind in ("rate", "trace")]
        if rate is not None and trace is not None:
            raise ConfigError(f"{' and '.join(options)} are both given; choose one")
        if rate is not None:
            return constant(parse_rate(rate, options[0]))
        if trace is not None:
            if trace not in traces:
                traces[trace] = read_trace(trace, settings.trace_name, settings.trace_end)
            return traces[trace].capacity
    raise ConfigError(
        f"there is no rate for the direction {name}: give --rate, --rate-{name}, --trace or "
        f"--trace-{name}"
    )


def _switched(
    capacity: Capacity, events: Sequence[Event], dead_s: Sequence[tuple[float, float]]
) -> Capacity:
    """Return `capacity` with the rates and outages of the schedule."""
    rates = [(e.at_s, e.value) for e in events if e.event == RATE and e.value is not None]
    if not rates and not dead_s:
        return capacity
    changes_s = {0.0, *(at_s for at_s, _ in rates), *(at_s for period in dead_s for at_s in period)}
    starts_s = sorted(at_s for at_s in changes_s if isfinite(at_s))
    parts: list[Capacity] = []
    for at_s in starts_s:
        known = [bps for from_s, bps in rates if from_s <= at_s]
        if any(start <= at_s < end for start, end in dead_s):
            parts.append(constant(0.0))
        else:
            parts.append(constant(known[-1]) if known else capacity)
    return Switched(starts_s, parts)


def _delay(
    settings: LinkSettings,
    name: str,
    events: Sequence[Event],
    dead_s: Sequence[tuple[float, float]],
) -> Delay:
    jitter_s = parse_duration(settings.jitter, "--jitter")
    steps = {0.0: parse_duration(settings.delay, "--delay")}
    steps.update({e.at_s: e.value for e in events if e.event == DELAY and e.value is not None})
    for at_s, delay_s in steps.items():
        if delay_s < jitter_s:
            raise ConfigError(
                f"--jitter is {settings.jitter}, more than the delay of {1000 * delay_s:g} ms from "
                f"{at_s:g} s on; make it smaller"
            )
    seed = 2 * settings.seed + (name == DOWN)
    return Delay(list(steps), list(steps.values()), jitter_s, seed, dead_s)
