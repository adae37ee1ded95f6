"""What a simulation is of: agents, a worker, links, and phases in which the links change.

A scenario is a TOML file of the dataclasses below (docs/simulator.md). A key that does not exist, a
value of the wrong type or out of its range is refused with its place.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from splitnet.bundle.json_form import Reader, join
from splitnet.devices import device_class
from splitnet.errors import BundleError, ConfigError, UnknownNameError
from splitnet.machines.agent_config import AgentConfig
from splitnet.machines.worker import WorkerConfig
from splitnet.sim.phased_link import LinkTable, Phase, moved, open_phases

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCENARIO_VERSION = 1
"""Version of the file; one that names no version is of this one."""

MAY_BE_ZERO = frozenset(
    {
        "at_s",
        "start_s",
        "spread",
        "step_s",
        "hop_s",
        "batch_share",
        "seed",
        "guard_s",
        "rescue_margin_s",
        "retry_after_ms",
    }
)
"""Numbers of a scenario that may be 0; all others are above it, and none is below."""


@dataclass(frozen=True, slots=True)
class Source:
    """A live source: `frames` frames, `rate_hz` a second, the first one at `start_s`.

    Attributes
    ----------
    order
        The sample table's rows are ``"drawn"`` by seed, or come in the order of the ``"table"``, as
        they do where a real source goes through the test data.
    """

    rate_hz: float
    frames: int
    start_s: float = 0.0
    order: Literal["drawn", "table"] = "drawn"


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """A device, or `copies` of them whose frames are spread evenly over an interval.

    Attributes
    ----------
    profile
        Name of one of the bundle's profiles; ``None`` is the first one, the build machine's.
    device
        Class of the board that the profile is carried over to (docs/devices.md); ``None`` leaves
        it on its own machine.
    factor
        How many times slower the device is than its profile, or its class, says.
    spread
        How far stage times are drawn from their median: 1 as the profile says, 0 not at all.
    step_s
        What passes between the end of a job and the start of the next one, or the answer: threads
        and the agent itself.
    hop_s
        What a message takes besides the link, each way: the processes at its ends and their
        sockets. The defaults of both are what `benchmarks/calibration.py` found of real processes.
    bounds
        Deadline, queues and the rest that the agent machine is configured with.
    """

    source: Source
    name: str = "device"
    copies: int = 1
    policy: str = "greedy"
    profile: str | None = None
    device: str | None = None
    factor: float = 1.0
    spread: float = 1.0
    step_s: float = 0.0004
    hop_s: float = 0.0005
    bounds: AgentConfig = field(default_factory=AgentConfig)


@dataclass(frozen=True, slots=True)
class Restart:
    """The worker is killed at `at_s` and comes back `down_s` later, with nothing in memory."""

    at_s: float
    down_s: float


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The one worker.

    Attributes
    ----------
    threads
        1: the profile of a bundle says nothing of more.
    profile, device, factor, spread
        As for an agent.
    batch_share
        What each further item of a batch adds to the time of the segments, as a share of one alone.
        Measured on one x86 thread with the digits bundle, batches of 2 to 8: 0.83 to 0.92.
    bounds
        Batch, credit and the rest that the worker machine is configured with.
    """

    threads: int = 1
    profile: str | None = None
    device: str | None = None
    factor: float = 1.0
    spread: float = 1.0
    batch_share: float = 0.9
    bounds: WorkerConfig = field(default_factory=WorkerConfig)
    restarts: tuple[Restart, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run depends on besides the bundle.

    Attributes
    ----------
    link
        The link of each agent, with the keys of `splitnet.sim.link_settings.LinkSettings`.
    bundle
        Directory of the bundle.
    seed
        Of all that is drawn, unless another one is asked for.
    """

    agents: tuple[AgentSettings, ...]
    link: LinkTable
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    phases: tuple[Phase, ...] = (Phase("all", 0.0),)
    name: str = "scenario"
    bundle: str | None = None
    seed: int = 0


def load_scenario(file: Path) -> Scenario:
    """Read and check a scenario; paths in it are relative to its own folder.

    Raises
    ------
    ConfigError
        The file cannot be read, or says something that makes no sense; the place is named.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the scenario {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not a TOML file: {error}") from error
    # TOML has dates, which no key asks for and the reader of JSON forms does not know.
    tables = json.loads(json.dumps(document, default=str))
    reader = Reader(str(file), SCENARIO_VERSION, refuse_unknown=True)
    try:
        scenario = reader.read(Scenario, {"version": SCENARIO_VERSION, "name": file.stem, **tables})
        check_scenario(scenario)
        scenario = _beside(file.parent, scenario)
        open_phases(scenario.link, scenario.phases, scenario.seed)
    except BundleError as error:
        raise ConfigError(str(error)) from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return scenario


def check_scenario(scenario: Scenario) -> None:
    """Raise `ConfigError` if a value is out of its range or contradicts another."""
    _check_numbers(scenario, "")
    if not scenario.agents:
        raise ConfigError("agents: there is none; add a table [[agents]]")
    names = Counter(name for agent in scenario.agents for name in agent_names(agent))
    for name, count in names.items():
        if count > 1:
            raise ConfigError(f"agents: {count} of them are called {name!r}; give them names")
    if scenario.worker.threads != 1:
        raise ConfigError(
            f"worker.threads is {scenario.worker.threads}: the profile is of 1 thread; "
            "use worker.factor for another speed"
        )
    for one, other in pairwise(scenario.worker.restarts):
        if other.at_s <= one.at_s + one.down_s:
            raise ConfigError(
                f"worker.restarts: the worker dies at {other.at_s:g} s, but is not back before "
                f"{one.at_s + one.down_s:g} s"
            )
    _check_device(scenario.worker.device, "worker.device")
    for i, agent in enumerate(scenario.agents):
        _check_device(agent.device, f"agents[{i}].device")
    _check_phases(scenario.phases)


def agent_names(settings: AgentSettings) -> Iterator[str]:
    """Yield the name of each copy of an agent."""
    if settings.copies == 1:
        yield settings.name
    else:
        yield from (f"{settings.name}-{number}" for number in range(1, settings.copies + 1))


def _check_numbers(value: Any, where: str) -> None:
    """Check every number of a dataclass, and of those inside it, by its name alone."""
    for part in fields(value):
        found, place = getattr(value, part.name), join(where, part.name)
        if isinstance(found, int | float) and not isinstance(found, bool):
            least = "at least 0" if part.name in MAY_BE_ZERO else "above 0"
            if found < 0 or (found == 0 and part.name not in MAY_BE_ZERO):
                raise ConfigError(f"{place} is {found}, it must be {least}")
        elif isinstance(found, tuple):
            for i, item in enumerate(found):
                _check_numbers(item, f"{place}[{i}]")
        elif is_dataclass(found):
            _check_numbers(found, place)


def _check_device(name: str | None, place: str) -> None:
    try:
        if name is not None:
            device_class(name)
    except UnknownNameError as error:
        raise UnknownNameError(f"{place}: {error}") from None


def _check_phases(phases: tuple[Phase, ...]) -> None:
    if not phases or phases[0].start_s != 0:
        raise ConfigError("phases: the first one must start at 0 s")
    for one, other in pairwise(phases):
        if other.start_s <= one.start_s:
            raise ConfigError(
                f"phases overlap: {other.name!r} starts at {other.start_s:g} s, "
                f"{one.name!r} before it at {one.start_s:g} s; list them in the order of time"
            )
    names = Counter(phase.name for phase in phases)
    for name, count in names.items():
        if count > 1:
            raise ConfigError(f"phases: {count} of them are called {name!r}; give them other names")


def _beside(folder: Path, scenario: Scenario) -> Scenario:
    """Return the scenario with its paths made relative to the working directory."""
    phases = tuple(replace(phase, link=moved(phase.link, folder)) for phase in scenario.phases)
    bundle = None if scenario.bundle is None else str(folder / scenario.bundle)
    return replace(scenario, bundle=bundle, link=moved(scenario.link, folder), phases=phases)
