"""A slower device on this machine: after each stage, wait as long as that device would still work.

Either by factors, which say how many times slower the emulated device is than this machine. They
differ by class of operator (convolutions suffer otherwise than copies do), so a stage's factor is
the mean of the factors weighted by the share of its work in each class. Or by a profile of the
device, which says how long each stage takes there, whatever this machine is.
"""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from statistics import median_low
from typing import Any, TypeAlias

from splitnet.bundle import Advice
from splitnet.config import nearest
from splitnet.devices import (
    DEVICE_CLASSES,
    DeviceClass,
    device_class,
    named_profile,
    profile_on,
)
from splitnet.errors import ConfigError, UnknownNameError
from splitnet.values import Profile, fused_stage, segment_stage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OTHER = "other"
CODEC = "codec"
CLASSES = ("conv", "depthwise", "matmul", "elementwise", OTHER, CODEC)
"""The classes of a bundle's ``costs``, and the codecs."""

Part: TypeAlias = "tuple[str, bool]"
"""Profile key of a stage, and whether it is the codec's part of it."""

RECENT = 9
"""Latest times of a part that its usual time, their median, is taken from."""


@dataclass(frozen=True, slots=True)
class Emulation:
    """How many times slower each class of operator is on the emulated device, at least 1.0.

    A class that `factors` does not mention has the factor of ``other``; without that one, 1.0.
    """

    factors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, factor in self.factors.items():
            if name not in CLASSES:
                raise ConfigError(
                    f"unknown operator class {name!r}{nearest(name, CLASSES)}; "
                    f"known: {', '.join(CLASSES)}"
                )
            if isinstance(factor, bool) or not isinstance(factor, int | float) or not factor >= 1:
                raise ConfigError(
                    f"the factor of {name} is {factor!r}, at least 1 is needed: "
                    "a device can only be emulated on a faster one"
                )

    def factor(self, costs: Mapping[str, float]) -> float:
        """Return the factor of work that is shared out among the classes as `costs` says."""
        default = self.factors.get(OTHER, 1.0)
        total = sum(costs.values())
        if total <= 0:
            return default
        return sum(n * self.factors.get(name, default) for name, n in costs.items()) / total


class Stretcher(ABC):
    """Takes the times of a stage's parts, then waits until the emulated device would be done."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep

    @abstractmethod
    def add(self, part: str, elapsed_s: float, *, codec: bool = False) -> None:
        """Note that a part of a stage took `elapsed_s` here; `part` is its profile key."""

    @abstractmethod
    def _owed_s(self) -> float:
        """Return what is owed for the parts since the last call."""

    def settle(self) -> None:
        """Wait for what the emulated device would have needed beyond the time passed."""
        owed_s = self._owed_s()
        if owed_s > 0:
            self._sleep(owed_s)

    def shortfall(self) -> str | None:
        """Return why this machine cannot be that slow device, ``None`` if it can."""
        return None


class FactorStretcher(Stretcher):
    """Waits by factors.

    A part is worth its factor times the time that it usually takes here when this machine is warm:
    the lowest median of its latest times. What this machine loses to a hiccup or a cold cache is
    its own and must not be multiplied; it counts as time already waited.

    Parameters
    ----------
    costs
        Share of each class in the work of a stage, by the stage's profile key.
    """

    def __init__(
        self,
        emulation: Emulation,
        costs: Mapping[str, Mapping[str, float]],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(sleep)
        self._factors = {stage: emulation.factor(share) for stage, share in costs.items()}
        self._default = emulation.factor({OTHER: 1.0})
        self._codec = emulation.factor({CODEC: 1.0})
        self._recent_s: defaultdict[Part, deque[float]] = defaultdict(partial(deque, maxlen=RECENT))
        self._usual_s: dict[Part, float] = {}
        self._sum_s = 0.0

    def add(self, part: str, elapsed_s: float, *, codec: bool = False) -> None:
        """Note that a part of a stage took `elapsed_s` here; `part` is its profile key."""
        recent_s = self._recent_s[part, codec]
        recent_s.append(elapsed_s)
        usual_s = min(median_low(recent_s), self._usual_s.get((part, codec), inf))
        self._usual_s[part, codec] = usual_s
        factor = self._codec if codec else self._factors.get(part, self._default)
        if factor > 1:
            self._sum_s += factor * usual_s - elapsed_s

    def _owed_s(self) -> float:
        owed_s, self._sum_s = self._sum_s, 0.0
        return owed_s


class ProfileStretcher(Stretcher):
    """Waits until each stage has taken the median that a profile says.

    Parameters
    ----------
    profile
        Of the emulated device; a stage that it does not know takes what it takes here.
    """

    def __init__(self, profile: Profile, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__(sleep)
        self._profile = profile
        self._parts: set[str] = set()
        self._elapsed_s = 0.0
        self._best_s: dict[frozenset[str], float] = {}

    def add(self, part: str, elapsed_s: float, *, codec: bool = False) -> None:
        """Note that a part of a stage took `elapsed_s` here.

        A graph and a codec with the same profile key are one stage of the profile.
        """
        self._parts.add(part)
        self._elapsed_s += elapsed_s

    def shortfall(self) -> str | None:
        """Return why this machine cannot be that device: at its best it is slower."""
        here_s = sum(self._best_s.values())
        there_s = sum(self._wanted_s(parts) for parts in self._best_s)
        if here_s <= there_s:
            return None
        return (
            f"this machine is too slow to be a {self._profile.device}: the stages of the bundle "
            f"take {1000 * here_s:.1f} ms here and {1000 * there_s:.1f} ms there"
        )

    def _owed_s(self) -> float:
        parts, elapsed_s = frozenset(self._parts), self._elapsed_s
        self._parts.clear()
        self._elapsed_s = 0.0
        self._best_s[parts] = min(elapsed_s, self._best_s.get(parts, inf))
        return self._wanted_s(parts) - elapsed_s

    def _wanted_s(self, parts: frozenset[str]) -> float:
        stages = self._profile.stages
        return sum(stages[part].p50_s for part in parts if part in stages)


def make_stretcher(
    emulated: Emulation | DeviceClass,
    advice: Advice,
    sleep: Callable[[float], None] = time.sleep,
) -> Stretcher:
    """Return what makes this machine as slow as `emulated` for the stages of a bundle.

    Raises
    ------
    ConfigError
        The bundle's first profile says nothing of a device class.
    """
    if isinstance(emulated, DeviceClass):
        return ProfileStretcher(profile_on(emulated, named_profile(advice.profiles)), sleep)
    return FactorStretcher(emulated, {**advice.costs, **_fused_costs(advice)}, sleep)


def _fused_costs(advice: Advice) -> dict[str, Mapping[str, float]]:
    """Return the work of fused runs by class: that of their segments together."""
    costs: dict[str, Mapping[str, float]] = {}
    for run in advice.fused:
        total: defaultdict[str, float] = defaultdict(float)
        for stage in map(segment_stage, range(run.first, run.stop)):
            for name, share in advice.costs.get(stage, {}).items():
                total[name] += share * advice.flops.get(stage, 0)
        costs[fused_stage(run.first, run.stop)] = total
    return costs


def parse_emulation(text: str) -> Emulation | DeviceClass:
    """Return what ``--emulate-device`` asks for.

    Parameters
    ----------
    text
        A factor for everything, such as ``20``, the name of a device class, such as
        ``raspberry-pi-4``, or of a JSON or TOML file that holds factors by class of operator, such
        as ``{"conv": 25, "other": 10}``.

    Raises
    ------
    ConfigError
        Neither a factor of at least 1, nor a device class, nor a readable file of factors.
    """
    try:
        return Emulation({OTHER: float(text)})
    except ConfigError:
        raise
    except ValueError:
        pass
    file = Path(text)
    if text in DEVICE_CLASSES or not (file.suffix or file.exists()):
        return _named(text)
    return Emulation(_read_factors(file))


def _named(name: str) -> DeviceClass:
    try:
        return device_class(name)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"--emulate-device takes a factor, a file of factors or a device class: {error}"
        ) from None


def _read_factors(file: Path) -> Mapping[str, Any]:
    try:
        text = file.read_text()
        table = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"--emulate-device takes a factor, a device class or a file of factors; {str(file)!r} "
            f"is none of them ({error.strerror})"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{file} holds no JSON or TOML: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{file} must hold one factor for each operator class")
    return table
