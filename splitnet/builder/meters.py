"""What a measurement takes besides time: memory of the process, energy of a power rail.

A rail that cannot be read is said to be not available, with the reason; it is never 0.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

NOT_AVAILABLE = "NOT AVAILABLE"

RAPL = "sys/class/powercap"
"""Energy counters of Intel and AMD processors, https://docs.kernel.org/power/powercap/."""

HWMON = "sys/class/hwmon"
"""Power monitors such as INA3221, https://docs.kernel.org/hwmon/ina3221.html:
``in<n>_label``, ``in<n>_input`` in mV, ``curr<n>_input`` in mA."""

IIO = "sys/bus/i2c/drivers/ina3221x"
"""The same monitors on a Jetson up to JetPack 4: ``rail_name_<n>``, ``in_power<n>_input`` in mW."""

WHOLE_INPUT = ("VDD_IN", "POM_5V_IN", "5V_IN")
"""Labels of the rail that feeds a whole Jetson module; without one, all rails are added up.
Source: energymon, jetson/JetsonPowerRails.md."""

MONITORS = ("ina3221", "ina226", "ina219", "ina2xx")

POLL_S = 0.005
"""A monitor needs some milliseconds for a new value, and reading one takes about one."""


class EnergyMeter(ABC):
    """Measures the energy that a rail gives between `start` and `stop`.

    Attributes
    ----------
    source, rail
        Where it is read, and what is measured there.
    """

    def __init__(self, source: str, rail: str) -> None:
        self.source = source
        self.rail = rail

    @abstractmethod
    def start(self) -> None:
        """Begin."""

    @abstractmethod
    def poll(self) -> None:
        """Look at the rail, if it is time to: call this often."""

    @abstractmethod
    def stop(self) -> float:
        """Return the joules since `start`."""


class CounterMeter(EnergyMeter):
    """Reads a counter of microjoules, which begins again at 0 beyond its range."""

    def __init__(self, source: str, rail: str, counter: Path, range_uj: int) -> None:
        super().__init__(source, rail)
        self._counter = counter
        self._range_uj = range_uj
        self._last_uj = 0
        self._sum_uj = 0

    def start(self) -> None:
        """Begin."""
        self._last_uj, self._sum_uj = _integer(self._counter), 0

    def poll(self) -> None:
        """Add what was counted, so that no turn of the counter is missed."""
        now_uj = _integer(self._counter)
        step_uj = now_uj - self._last_uj
        self._sum_uj += step_uj if step_uj >= 0 else step_uj + self._range_uj
        self._last_uj = now_uj

    def stop(self) -> float:
        """Return the joules since `start`."""
        self.poll()
        return self._sum_uj / 1e6


class PowerMeter(EnergyMeter):
    """Adds up power readings over time.

    Parameters
    ----------
    read_w
        Returns the power of the moment.
    """

    def __init__(
        self,
        source: str,
        rail: str,
        read_w: Callable[[], float],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(source, rail)
        self._read_w = read_w
        self._clock = clock
        self._sum_j = 0.0
        self._last_s = 0.0
        self._last_w = 0.0

    def start(self) -> None:
        """Begin."""
        self._sum_j, self._last_w, self._last_s = 0.0, self._read_w(), self._clock()

    def poll(self) -> None:
        """Take a reading if the last one is old enough."""
        if self._clock() - self._last_s >= POLL_S:
            self._take()

    def stop(self) -> float:
        """Return the joules since `start`."""
        self._take()
        return self._sum_j

    def _take(self) -> None:
        now_w, now_s = self._read_w(), self._clock()
        self._sum_j += (now_w + self._last_w) / 2 * (now_s - self._last_s)
        self._last_w, self._last_s = now_w, now_s


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """The energy meter of this machine, or why there is none."""

    meter: EnergyMeter | None
    reason: str = ""

    @property
    def text(self) -> str:
        """Return what people should read."""
        if self.meter is None:
            return f"{NOT_AVAILABLE} ({self.reason})"
        return f"{self.meter.rail} ({self.meter.source})"


@dataclass(frozen=True, slots=True)
class _Rail:
    """A rail of a power monitor: its label, and how to read its power."""

    label: str
    source: str
    read_w: Callable[[], float]


def find_meter(root: Path = ROOT) -> FoundMeter:
    """Return a meter for this machine: of a board if it has one, else of the processor.

    Parameters
    ----------
    root
        Where ``sys`` lies.
    """
    refused = []
    rails = [*_hwmon_rails(root / HWMON), *_iio_rails(root / IIO)]
    if rails:
        try:
            return FoundMeter(_board_meter(rails))
        except (OSError, ValueError) as error:
            refused.append(f"{rails[0].source}: {_why(error)}")
    packages = sorted((root / RAPL).glob("*-rapl:?"))
    for package in packages:
        try:
            return FoundMeter(_rapl_meter(package))
        except (OSError, ValueError) as error:
            refused.append(f"{package}: {_why(error)}")
    found = "; ".join(refused)
    return FoundMeter(None, found or f"no rail in /{RAPL}, /{HWMON} or /{IIO}")


def peak_resident_bytes(status: Path = ROOT / "proc/self/status") -> int | None:
    """Return the most memory that this process had at any time, ``None`` if nobody says."""
    try:
        lines = status.read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(kilobytes) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _rapl_meter(package: Path) -> EnergyMeter:
    counter = package / "energy_uj"
    _integer(counter)
    name = (package / "name").read_text().strip()
    return CounterMeter(
        str(counter), f"RAPL {name}", counter, _integer(package / "max_energy_range_uj")
    )


def _board_meter(rails: Sequence[_Rail]) -> EnergyMeter:
    """Return the meter of the whole board: its input rail, or all rails together."""
    chosen = [rail for rail in rails if rail.label in WHOLE_INPUT][:1] or list(rails)
    for rail in chosen:
        rail.read_w()
    sources = dict.fromkeys(rail.source for rail in chosen)
    return PowerMeter(
        " ".join(sources),
        " + ".join(rail.label for rail in chosen),
        lambda: sum(rail.read_w() for rail in chosen),
    )


def _hwmon_rails(folder: Path) -> list[_Rail]:
    rails = []
    for monitor in sorted(folder.glob("hwmon*")):
        if _text(monitor / "name") not in MONITORS:
            continue
        for current in sorted(monitor.glob("curr[123]_input")):
            number = current.name[4]
            volts = monitor / f"in{number}_input"
            label = _text(monitor / f"in{number}_label") or f"channel {number}"
            if volts.exists():
                rails.append(_Rail(label, str(monitor), _product(volts, current)))
    return rails


def _iio_rails(folder: Path) -> list[_Rail]:
    rails = []
    for name in sorted(folder.glob("*/iio:device*/rail_name_*")):
        power = name.with_name(f"in_power{name.name[-1]}_input")
        if power.exists():
            rails.append(_Rail(_text(name), str(name.parent), _milliwatts(power)))
    return rails


def _product(millivolts: Path, milliamperes: Path) -> Callable[[], float]:
    return lambda: _integer(millivolts) * _integer(milliamperes) / 1e6


def _milliwatts(power: Path) -> Callable[[], float]:
    return lambda: _integer(power) / 1e3


def _integer(file: Path) -> int:
    return int(file.read_text())


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
