"""What happens to a link at known times: other rates and delays, outages, resets.

The file is CSV with the columns ``at_s, event, value, direction``, of which the last two may be
left out, or, if its name ends in ``.toml``, a list of tables ``[[event]]`` with the same keys.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from splitnet.config import nearest
from splitnet.errors import ConfigError
from splitnet.sim.units import parse_duration, parse_rate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RATE, DELAY, DEAD, ALIVE, RESET = "rate", "delay", "dead", "alive", "reset"
EVENTS = (RATE, DELAY, DEAD, ALIVE, RESET)
UP, DOWN, BOTH = "up", "down", "both"
DIRECTIONS = (UP, DOWN, BOTH)

COLUMNS = ("at_s", "event", "value", "direction")


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a link.

    Attributes
    ----------
    value
        bit/s of ``rate``, seconds of ``delay``; the others have none.
    direction
        Which way it concerns; a ``reset`` always concerns both.
    """

    at_s: float
    event: str
    value: float | None = None
    direction: str = BOTH

    def concerns(self, direction: str) -> bool:
        """Return whether this changes the way ``up`` or ``down``."""
        return self.direction in (BOTH, direction)


def read_schedule(file: Path) -> tuple[Event, ...]:
    """Read the events of a file, in their order.

    Raises
    ------
    ConfigError
        The file cannot be read, or an event makes no sense; its line or number is named.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the schedule {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not text") from None
    rows = _toml_rows(file, text) if file.suffix == ".toml" else _csv_rows(file, text)
    events: list[Event] = []
    for where, row in rows:
        event = _event(where, row)
        if events and event.at_s < events[-1].at_s:
            raise ConfigError(
                f"{where}: {event.at_s:g} s comes after {events[-1].at_s:g} s; times must not go "
                "back"
            )
        events.append(event)
    if not events:
        raise ConfigError(f"{file} is empty: a schedule has at least one event")
    return tuple(events)


def outages(events: Sequence[Event], direction: str) -> tuple[tuple[float, float], ...]:
    """Return the periods (start, end) in which ``up`` or ``down`` is dead.

    The end of one that nothing ends is infinity.

    Raises
    ------
    ConfigError
        A dead link dies, or one that is alive comes back.
    """
    periods: list[tuple[float, float]] = []
    for event in events:
        if not event.concerns(direction) or event.event not in (DEAD, ALIVE):
            continue
        is_dead = bool(periods) and periods[-1][1] == inf
        if is_dead == (event.event == DEAD):
            raise ConfigError(
                f"the schedule says {event.event} at {event.at_s:g} s, but the link is so already "
                f"({direction})"
            )
        if is_dead:
            periods[-1] = (periods[-1][0], event.at_s)
        else:
            periods.append((event.at_s, inf))
    return tuple(period for period in periods if period[1] > period[0])


def _csv_rows(file: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split(",")]
        if line.strip() and cells != list(COLUMNS[: len(cells)]):
            where = f"{file}, line {number}"
            if len(cells) > len(COLUMNS):
                raise ConfigError(
                    f"{where} has {len(cells)} columns, at most {len(COLUMNS)} are known"
                )
            named = zip(COLUMNS, cells, strict=False)
            yield where, {name: cell for name, cell in named if cell}


def _toml_rows(file: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not a TOML file: {error}") from error
    unknown = [key for key in document if key != "event"]
    tables = document.get("event", [])
    if unknown or not isinstance(tables, list):
        raise ConfigError(
            f"{file}: {(unknown or ['event'])[0]!r} is not a list of tables [[event]]"
        )
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: event {number} is not a table")
        yield f"{file}, event {number}", table


def _event(where: str, row: Mapping[str, Any]) -> Event:
    for key in row:
        if key not in COLUMNS:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(key, COLUMNS)}")
    name, direction = str(row.get("event", "")), str(row.get("direction", BOTH))
    if name not in EVENTS:
        raise ConfigError(
            f"{where}: {name!r} is not one of {', '.join(EVENTS)}{nearest(name, EVENTS)}"
        )
    if direction not in DIRECTIONS:
        raise ConfigError(f"{where}: {direction!r} is not one of {', '.join(DIRECTIONS)}")
    if name == RESET and direction != BOTH:
        raise ConfigError(f"{where}: a reset concerns both directions")
    return Event(
        _time(where, row.get("at_s")), name, _value(where, name, row.get("value")), direction
    )


def _time(where: str, given: Any) -> float:
    try:
        at_s = float(given)
    except (TypeError, ValueError, OverflowError):
        at_s = -1.0
    if isinstance(given, bool) or not isfinite(at_s) or at_s < 0:
        raise ConfigError(f"{where}: at_s is {given!r}, it must be a number of seconds from 0 on")
    return at_s


def _value(where: str, event: str, given: Any) -> float | None:
    if event not in (RATE, DELAY):
        if given is not None:
            raise ConfigError(f"{where}: {event} takes no value, but {given!r} is given")
        return None
    if given is None:
        raise ConfigError(f"{where}: {event} needs a value")
    parse = parse_rate if event == RATE else parse_duration
    return parse(str(given), f"{where}: {event}")
