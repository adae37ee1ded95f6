"""What a simulation is of: agents, a worker, a link, and phases in which the link changes.

A scenario is a TOML file of the dataclasses below (docs/simulator.md); seconds, bytes and bit/s
everywhere. A key that does not exist, a value of the wrong type or out of its range is refused with
its place.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from splitnet.bundle.json_form import Reader
from splitnet.errors import BundleError, ConfigError
from splitnet.machines.agent import AgentConfig
from splitnet.machines.worker import WorkerConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Source:
    """A live source: `frames` frames, `rate_hz` a second, the first one at `start_s`."""

    rate_hz: float
    frames: int
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """A device, or `copies` of them whose frames are spread evenly over an interval.

    Attributes
    ----------
    factor
        How many times slower the device is than the profile of the bundle.
    spread
        How far stage times are drawn from their median: 1 as the profile says, 0 not at all.
    bounds
        Deadline, queues and the rest of what the agent machine is configured with.
    """

    source: Source
    name: str = "device"
    copies: int = 1
    policy: str = "greedy"
    factor: float = 1.0
    spread: float = 1.0
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
        The profile of a bundle is of one thread, so there is no other choice yet.
    batch_share
        What each further item of a batch adds to the time of the segments, as a share of the first.
    """

    threads: int = 1
    factor: float = 1.0
    spread: float = 1.0
    batch_share: float = 1.0
    bounds: WorkerConfig = field(default_factory=WorkerConfig)
    restarts: tuple[Restart, ...] = ()
