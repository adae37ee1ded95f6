"""Recorded capacities: mahimahi traces and CSV files, plain or compressed with gzip.

A mahimahi trace has one whole number a line, the millisecond at which 1,500 bytes may leave. A CSV
file begins with the line ``t_s,mbps`` or, if it holds several traces, ``trace,t_s,mbps``; a value
holds from its time to the next one's, the last one for as long as the one before it.
"""

from __future__ import annotations

import gzip
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import isfinite
from pathlib import Path
from statistics import median

from splitnet.config import nearest
from splitnet.errors import ConfigError
from splitnet.sim.capacity import Capacity, Looped, Opportunities, Steps, Switched, constant

LOOP, STOP, HOLD = "loop", "stop", "hold"
ENDINGS = (LOOP, STOP, HOLD)
"""What comes after the end: the beginning, nothing, or more of the last value or second."""

_THEN = {LOOP: "it begins again", STOP: "the link carries nothing", HOLD: "its last rate holds"}

MAX_DIGITS = 15
"""Of a time in milliseconds: 30,000 years."""

MAX_MBPS = 1e6
"""A terabit a second; whatever is above is not a rate."""

SHORT_HEADER, LONG_HEADER = ["t_s", "mbps"], ["trace", "t_s", "mbps"]

GAP_FACTOR = 10
"""An interval this many times the median one is a gap: somebody stopped recording."""

LAST_S = 1.0
"""How much of the end of a mahimahi trace `HOLD` repeats, and how long a single value lasts."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded capacity with an ending, and what is odd about it.

    Attributes
    ----------
    name
        The file, and the trace in it if there are several.
    duration_s, ending
        After this time comes what the ending says.
    oddities
        Gaps, outages and repeated times, each as a part of a sentence for people.
    """

    name: str
    capacity: Capacity
    duration_s: float
    ending: str
    oddities: tuple[str, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What people should know, sentence by sentence."""
        ends = f"ends after {round(self.duration_s, 3)} s, then {_THEN[self.ending]}"
        return tuple(f"the trace {self.name} {remark}" for remark in (*self.oddities, ends))


def read_trace(file: Path, name: str | None = None, ending: str = LOOP) -> Trace:
    """Read a trace in either format; `name` chooses one of several.

    Raises
    ------
    ConfigError
        The file cannot be read, is empty or damaged (the line is named), or has no such trace.
    """
    if ending not in ENDINGS:
        raise ConfigError(f"--trace-end {ending!r} is not one of {', '.join(ENDINGS)}")
    lines = _lines(file)
    try:
        first = next(lines)
    except StopIteration:
        raise ConfigError(f"{file} is empty: a trace has at least one line") from None
    if "," in first[1]:
        return _read_csv(file, first, lines, name, ending)
    if name is not None:
        raise ConfigError(f"{file} is a mahimahi trace and holds only one; leave out --trace-name")
    return _read_mahimahi(file, chain([first], lines), ending)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not blank."""
    number = 0
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield number, text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{file} is damaged after line {number}: {error}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{file}, line {number}: not text") from None
    except OSError as error:
        raise ConfigError(f"cannot read the trace {file}: {error.strerror}") from error


# --- mahimahi -----------------------------------------------------------------------------------


def _read_mahimahi(file: Path, lines: Iterable[tuple[int, str]], ending: str) -> Trace:
    times_s = array("d")
    before_ms = 0
    for number, text in lines:
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
            raise ConfigError(
                f"{file}, line {number}: {_shown(text)} is neither a whole number of milliseconds "
                f"nor the header {','.join(SHORT_HEADER)}"
            )
        time_ms = int(text)
        if time_ms < before_ms:
            raise ConfigError(
                f"{file}, line {number}: {time_ms} ms comes after {before_ms} ms; times must not "
                "go back"
            )
        times_s.append(time_ms / 1000)
        before_ms = time_ms
    duration_s = times_s[-1]
    if not duration_s:
        raise ConfigError(f"{file} ends at 0 ms: a trace must last for some time")
    oddities = []
    silence_s, begin_s = max((b - a, a) for a, b in pairwise([0.0, *times_s]))
    if silence_s > LAST_S:
        oddities.append(f"carries nothing for {silence_s:.1f} s from {begin_s:.1f} s on")
    capacity = _end_opportunities(times_s, duration_s, ending)
    return Trace(str(file), capacity, duration_s, ending, tuple(oddities))


def _end_opportunities(times_s: Sequence[float], duration_s: float, ending: str) -> Capacity:
    once = Opportunities(times_s)
    if ending == STOP:
        return once
    if ending == LOOP:
        return Looped(once, duration_s)
    began_s = max(0.0, duration_s - LAST_S)
    last = Opportunities([time_s - began_s for time_s in times_s if time_s > began_s])
    return Switched((0.0, duration_s), (once, Looped(last, duration_s - began_s)))


# --- CSV ----------------------------------------------------------------------------------------


def _read_csv(
    file: Path,
    header: tuple[int, str],
    lines: Iterable[tuple[int, str]],
    name: str | None,
    ending: str,
) -> Trace:
    columns = _cells(header[1])
    if columns not in (SHORT_HEADER, LONG_HEADER):
        raise ConfigError(
            f"{file}, line {header[0]}: {_shown(header[1])} is not a header; it must be "
            f"{','.join(SHORT_HEADER)} or {','.join(LONG_HEADER)}"
        )
    samples = _Samples(file)
    if columns == SHORT_HEADER:
        if name is not None:
            raise ConfigError(f"{file} holds only one trace; leave out --trace-name")
        for number, text in lines:
            samples.add(number, _split(file, number, text, columns))
        return samples.trace(str(file), ending)
    names: dict[str, None] = {}
    for number, text in lines:
        found, *cells = _split(file, number, text, columns)
        names[found] = None
        if name is None and len(names) > 1:
            raise ConfigError(
                f"{file} holds several traces: choose one, such as --trace-name {next(iter(names))}"
            )
        if name in (None, found):
            samples.add(number, cells)
    if name is not None and name not in names:
        raise ConfigError(f"{file} holds no trace {name!r}{nearest(name, names)}")
    chosen = name or next(iter(names), "")
    return samples.trace(f"{file} ({chosen})", ending)


class _Samples:
    """The samples of one trace of a CSV file as they are read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._times_s: list[float] = []
        self._rates_bps: list[float] = []
        self._repeated: list[int] = []

    def add(self, number: int, cells: Sequence[str]) -> None:
        where = f"{self._file}, line {number}"
        time_s, mbps = (_number(where, cell) for cell in cells)
        if not 0 <= mbps <= MAX_MBPS:
            raise ConfigError(
                f"{where}: the rate {mbps:g} Mbit/s is not between 0 and {MAX_MBPS:g}"
            )
        before_s = self._times_s[-1] if self._times_s else time_s
        if time_s < before_s:
            raise ConfigError(
                f"{where}: {time_s:g} s comes after {before_s:g} s; times must not go back"
            )
        if self._times_s and time_s == before_s:
            self._repeated.append(number)
            self._rates_bps[-1] = mbps * 1e6
            return
        self._times_s.append(time_s)
        self._rates_bps.append(mbps * 1e6)

    def trace(self, name: str, ending: str) -> Trace:
        if not self._times_s:
            raise ConfigError(f"{self._file} is empty: there is nothing behind its header")
        if not any(self._rates_bps):
            raise ConfigError(f"{name} carries nothing at all: every rate is 0")
        starts_s = [time_s - self._times_s[0] for time_s in self._times_s]
        lengths_s = [b - a for a, b in pairwise(starts_s)] or [LAST_S]
        duration_s = starts_s[-1] + lengths_s[-1]
        capacity: Capacity = Steps(starts_s, self._rates_bps)
        if ending == LOOP:
            capacity = Looped(capacity, duration_s)
        elif ending == STOP:
            capacity = Switched((0.0, duration_s), (capacity, constant(0.0)))
        oddities = tuple(self._oddities(starts_s, lengths_s))
        return Trace(name, capacity, duration_s, ending, oddities)

    def _oddities(self, starts_s: Sequence[float], lengths_s: Sequence[float]) -> Iterator[str]:
        usual_s = median(lengths_s)
        begins = zip(lengths_s, starts_s, strict=False)
        gaps = [(length_s, at_s) for length_s, at_s in begins if length_s > GAP_FACTOR * usual_s]
        if gaps:
            longest_s, at_s = max(gaps)
            yield (
                f"has {len(gaps)} gaps, the longest of {longest_s:.1f} s from {at_s:.1f} s on; the "
                "rate before a gap holds through it"
            )
        if self._repeated:
            yield (
                f"gives {len(self._repeated)} times twice, first in line {self._repeated[0]}; the "
                "later rate counts"
            )


def _cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.split(",")]


def _split(file: Path, number: int, text: str, columns: Sequence[str]) -> list[str]:
    cells = _cells(text)
    if len(cells) != len(columns):
        raise ConfigError(
            f"{file}, line {number}: {_shown(text)} has {len(cells)} columns instead of "
            f"{len(columns)}"
        )
    return cells


def _number(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise ConfigError(f"{where}: {_shown(text)} is not a number")
    return value


def _shown(text: str) -> str:
    """Return the beginning of a line, quoted."""
    return repr(text if len(text) <= 40 else text[:40] + "...")
