"""The link of a scenario: one description for the whole run, and what each phase changes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

from splitnet.config import nearest
from splitnet.errors import ConfigError
from splitnet.sim.capacity import Switched, constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import Direction, Link
from splitnet.sim.link_settings import LinkSettings, open_link
from splitnet.sim.units import parse_duration

LinkTable: TypeAlias = Mapping[str, "int | str"]
"""Settings of a link by name, as they stand in a scenario."""

FILES = frozenset({"trace", "trace_up", "trace_down", "schedule"})
"""Settings that name a file."""

RATES = ("rate", "rate_up", "rate_down", "trace", "trace_up", "trace_down")
"""Settings of which one decides about a direction."""

LINK_KEYS = tuple(f.name for f in fields(LinkSettings) if f.name != "seed")
"""Settings of a scenario's link; the jitter is drawn from the scenario's seed."""

PHASE_KEYS = (*RATES, "trace_name", "trace_end", "delay")
"""Settings that a phase may change; the queue and the jitter are those of the whole run."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run, up to the start of the next one.

    Attributes
    ----------
    dead
        Nothing passes the link.
    link
        What differs from the scenario's link; the rest is as there, whatever the phase before said.
    """

    name: str
    start_s: float
    dead: bool = False
    link: LinkTable = field(default_factory=dict)


def open_phases(
    link: LinkTable, phases: Sequence[Phase], seed: int
) -> tuple[Link, tuple[str, ...]]:
    """Return the link of a run, and remarks on its traces, each a sentence for people.

    Raises
    ------
    ConfigError
        A setting is unknown, cannot be used, or contradicts another.
    """
    base = _settings(link, LINK_KEYS, "link", seed)
    if not any(phase.dead or phase.link for phase in phases):
        return _open(base, "link")
    if base.schedule is not None:
        raise ConfigError("link.schedule: the phases say what changes and when; leave one out")
    opened, remarks = [], dict[str, None]()
    for phase in phases:
        where = f"phases ({phase.name}): link"
        _check_keys(phase.link, PHASE_KEYS, where)
        settings = _settings(_merged(link, phase.link), LINK_KEYS, where, seed)
        found, said = _open(settings, where)
        opened.append((phase, settings, found))
        remarks.update(dict.fromkeys(said))
    starts_s = [phase.start_s for phase in phases]
    ends_s = [*starts_s[1:], inf]
    dead_s = [(s, e) for phase, s, e in zip(phases, starts_s, ends_s, strict=True) if phase.dead]
    delays_s = [parse_duration(settings.delay, "delay") for _, settings, _ in opened]
    jitter_s = parse_duration(base.jitter, "link.jitter")

    def direction(number: int) -> Direction:
        parts = [
            constant(0.0) if phase.dead else (found.up, found.down)[number].capacity
            for phase, _, found in opened
        ]
        delay = Delay(starts_s, delays_s, jitter_s, 2 * seed + number, dead_s)
        return Direction(Switched(starts_s, parts), delay, base.queue_bytes)

    return Link(direction(0), direction(1)), tuple(remarks)


def moved(table: LinkTable, folder: Path) -> LinkTable:
    """Return the settings with their files looked for in `folder`."""
    return {k: str(folder / str(v)) if k in FILES else v for k, v in table.items()}


def _merged(link: LinkTable, change: LinkTable) -> LinkTable:
    """Return `link` with the changes of a phase; a rate or trace replaces what was in its place."""
    kept = dict(link)
    for key in change:
        if key in RATES:
            _, _, direction = key.partition("_")
            for other in RATES:
                if other.endswith(direction):
                    kept.pop(other, None)
    return kept | dict(change)


def _settings(table: LinkTable, known: Sequence[str], where: str, seed: int) -> LinkSettings:
    _check_keys(table, known, where)
    values: dict[str, Any] = {k: Path(str(v)) if k in FILES else v for k, v in table.items()}
    try:
        return LinkSettings(**values, seed=seed)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_keys(table: LinkTable, known: Sequence[str], where: str) -> None:
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(key, known)}")
        if isinstance(value, int) != (key == "queue_bytes"):
            wanted = "a whole number" if key == "queue_bytes" else "text, such as '5mbit' or '20ms'"
            raise ConfigError(f"{where}.{key} is {value!r}, it must be {wanted}")


def _open(settings: LinkSettings, where: str) -> tuple[Link, tuple[str, ...]]:
    try:
        link, traces = open_link(settings)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return link, tuple(remark for trace in traces for remark in trace.remarks)
