"""How far the same computation may be off on a kind of device; docs/verify.md gives the reasons."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace

from splitnet.config import nearest
from splitnet.devices import DEVICE_CLASSES
from splitnet.errors import ConfigError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest errors allowed, as shares of the largest output.

    Attributes
    ----------
    name
        The kind of arithmetic, or the device class that was asked for.
    exact
        The same computation in floats.
    quantised
        Behind a quantiser, where rounding can move a symbol by one step.
    int8
        Behind a head that computes in whole numbers.
    changed
        Share of the labels that may differ where the computation is the same.
    """

    name: str
    exact: float
    quantised: float
    int8: float
    changed: float = 0.0


_KINDS = (
    Tolerance("x86-64", 1e-4, 0.05, 0.10),
    Tolerance("x86-64-no-vnni", 1e-4, 0.05, 0.25),
    Tolerance("aarch64", 1e-4, 0.05, 0.10),
    Tolerance("float16", 0.01, 0.05, 0.10, changed=0.01),
)

TOLERANCES: Mapping[str, Tolerance] = {kind.name: kind for kind in _KINDS}
"""The tolerance of each kind of arithmetic."""


def tolerance_of(device: str | None, exact: float | None = None) -> Tolerance:
    """Return the tolerance of a device class or of a kind of arithmetic.

    Parameters
    ----------
    device
        ``None`` stands for this machine.
    exact
        Takes the place of the error that the same computation may show, and is the least for the
        others.

    Raises
    ------
    UnknownNameError
        There is no such class; the message lists those that are known.
    ConfigError
        The error is no positive number.
    """
    found = TOLERANCES[_here()] if device is None else _named(device)
    if exact is None:
        return found
    if not 0 < exact < float("inf"):
        raise ConfigError(f"--tolerance is {exact:g}, must be above 0 and finite")
    others = max(exact, found.quantised), max(exact, found.int8)
    return replace(found, exact=exact, quantised=others[0], int8=others[1])


def _named(device: str) -> Tolerance:
    if device in TOLERANCES:
        return TOLERANCES[device]
    if device in DEVICE_CLASSES:
        return replace(TOLERANCES[DEVICE_CLASSES[device].arithmetic], name=device)
    known = [*TOLERANCES, *DEVICE_CLASSES]
    raise UnknownNameError(
        f"unknown device class {device!r}{nearest(device, known)}; known: {', '.join(known)}"
    )


def _here() -> str:
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "aarch64"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return "x86-64" if "vnni" in file.read() else "x86-64-no-vnni"
    except OSError:
        return "x86-64"
