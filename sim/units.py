"""Rates and durations as people write them: ``5mbit``, ``20ms``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite

from splitnet.errors import ConfigError

RATES_BPS: Mapping[str, float] = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
DURATIONS_S: Mapping[str, float] = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
"""The units of tc(8), decimal; those of bytes are left out, as ``kbps`` there means kilobytes."""

_QUANTITY = re.compile(r"(?P<number>[^a-z]+?) ?(?P<unit>[a-z]+)", re.IGNORECASE)


def parse_rate(text: str, where: str) -> float:
    """Return a rate such as ``500kbit`` in bit/s.

    Raises
    ------
    ConfigError
        Not a number above 0 with one of the units; `where` says what it was meant for.
    """
    rate_bps = _parse(text, RATES_BPS, where, "5mbit")
    if rate_bps == 0:
        raise ConfigError(f"{where} is {text}, it must be above 0; a dead link is for the schedule")
    return rate_bps


def parse_duration(text: str, where: str) -> float:
    """Return a duration such as ``20ms`` in seconds.

    Raises
    ------
    ConfigError
        Not a number from 0 on with one of the units; `where` says what it was meant for.
    """
    return _parse(text, DURATIONS_S, where, "20ms")


def _parse(text: str, units: Mapping[str, float], where: str, example: str) -> float:
    found = _QUANTITY.fullmatch(text.strip())
    unit = units.get(found["unit"].lower()) if found else None
    try:
        value = float(found["number"]) if found else float("nan")
    except ValueError:
        value = float("nan")
    if unit is None or not isfinite(value) or value < 0:
        raise ConfigError(
            f"{where}: {text!r} is not a number from 0 on with {', '.join(units)}; "
            f"write for instance {example}"
        )
    return value * unit
