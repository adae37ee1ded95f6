"""The link of a scenario: one description for the whole run, and what each phase changes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import inf
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from splitnet.config import nearest
from splitnet.errors import ConfigError
from splitnet.sim.capacity import Capacity, Switched, constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import Direction, Link
from splitnet.sim.link_settings import LinkSettings, open_link
from splitnet.sim.units import parse_duration

LinkTable: TypeAlias = Mapping[str, "int | str"]
"""Settings of a link by their names, as they stand in a scenario."""

PATHS = frozenset({"trace", "trace_up", "trace_down", "schedule"})
"""Settings that name a file."""

NUMBERS = frozenset({"queue_bytes"})
"""Settings that are whole numbers; all others are text."""

NOT_HERE = frozenset({"seed"})
"""Settings that the simulator sets itself."""

CHANGING = frozenset(
    {"rate", "rate_up", "rate_down", "trace", "trace_up", "trace_down", "trace_name", "trace_end"}
    | {"delay"}
)
"""Settings that a phase may change; a queue and the seed of its jitter stay."""
