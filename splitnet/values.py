"""The nouns that every room shares: tensors, plans, stage times, telemetry, answers.

Units are fixed: seconds, bytes, bit/s. All values are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from math import prod
from typing import Literal, TypeAlias

from splitnet.records import record

Role: TypeAlias = Literal["data", "state", "constant"]

DTYPE_BYTES: Mapping[str, int] = {
    "float32": 4,
    "float16": 2,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "int64": 8,
    "bool": 1,
}
"""Every dtype that may cross a cut; anything else is refused."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype, dimensions and role of a tensor of a contract.

    ``dims`` holds a size or the name of a dynamic dimension; the first one is the batch ``"N"``.
    """

    name: str
    dtype: str
    dims: tuple[int | str, ...]
    role: Role = "data"

    def shape(self, batch: int, dynamic: Mapping[str, int] | None = None) -> tuple[int, ...]:
        """Return the concrete shape for a batch of `batch` samples."""
        sizes = {"N": batch, **(dynamic or {})}
        return tuple(sizes[d] if isinstance(d, str) else d for d in self.dims)

    def sample_bytes(self, dynamic: Mapping[str, int] | None = None) -> int:
        """Return the uncompressed size of one sample in bytes.

        A dynamic dimension whose size is not known counts as 1: the result is a lower bound then.
        """
        sizes = {dim: 1 for dim in self.dims if isinstance(dim, str)}
        return prod(self.shape(1, {**sizes, **(dynamic or {})})) * DTYPE_BYTES[self.dtype]


class RequestClass(IntEnum):
    """``LIVE`` requests are answered by their deadline; ``DEFERRED`` ones when it is possible."""

    LIVE = 0
    DEFERRED = 1


SKIP = "skip"
"""Name of the prefilter in exit rules, stages and tables: a request that ends there sends nothing
and answers that there is nothing of interest."""


@dataclass(frozen=True, slots=True)
class ExitStep:
    """One entry of an exit rule: answer at `exit` if `confidence` reaches `threshold`.

    The exit `SKIP` is the prefilter, whose only answer is that there is nothing of interest.
    """

    exit: str
    confidence: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a request: a path, its level, and the exits tried on the way.

    The text form is ``path@level``, followed by ``+skip`` if the rule has the prefilter, by
    ``+exits`` if it has exits and by ``+stops`` if refinements wait for answers.

    Attributes
    ----------
    stops
        Confidence at which the cloud's answer to the first part of the payload, to the first two,
        and so on, is taken, so that the next refinement is not sent. Empty: all parts are sent at
        once. Source: Lan et al., Progressive Feature Transmission for Split Classification at the
        Wireless Edge, IEEE TWC 2023 (stopping control).
    """

    path: str
    level: int
    exits: tuple[ExitStep, ...] = ()
    stops: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """Return the name of the plan in options, logs and answers."""
        stops = "+stops" if self.stops else ""
        return plan_key(self.path, self.level) + self.rule_key + stops

    @property
    def rule_key(self) -> str:
        """Return what the exit rule adds to the name of the plan."""
        skips = any(step.exit == SKIP for step in self.exits)
        return ("+skip" if skips else "") + ("+exits" if len(self.exits) > skips else "")


def plan_key(path: str, level: int) -> str:
    """Return the text that names a path at a level, for instance ``layer2@1``."""
    return f"{path}@{level}"


@dataclass(frozen=True, slots=True)
class StageTime:
    """Median and 95th percentile of the time of one stage for one sample, in seconds."""

    p50_s: float
    p95_s: float


def segment_stage(index: int) -> str:
    """Return the profile key of segment `index`."""
    return f"segment:{index}"


def fused_stage(first: int, stop: int) -> str:
    """Return the profile key of the segments from boundary `first` to `stop` as one graph."""
    return f"fused:{first}-{stop}"


def exit_stage(exit_id: str) -> str:
    """Return the profile key of an exit graph."""
    return f"exit:{exit_id}"


def encode_stage(path: str, level: int) -> str:
    """Return the profile key of a path's encoder and codec at a level."""
    return f"encode:{plan_key(path, level)}"


def decode_stage(path: str, level: int) -> str:
    """Return the profile key of a path's codec and decoder at a level."""
    return f"decode:{plan_key(path, level)}"


PREPARE_STAGE = "prepare"
"""Profile key of the preprocessing of one sample."""


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Time of one stage for `batch` samples at once."""

    stage: str
    batch: int
    time: StageTime


@dataclass(frozen=True, slots=True)
class Energy:
    """What stages take from a power rail in joules a sample, with all else that the rail feeds.

    Attributes
    ----------
    source, rail
        Where it was read, and what is measured there.
    idle_w
        Power of the rail while nothing ran.
    """

    source: str
    rail: str
    idle_w: float
    stages_j: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Profile:
    """Stage times of one device, keyed by the ``*_stage`` functions of this module.

    Attributes
    ----------
    facts
        What people must know of the device.
    reference_s
        What the reference network of `splitnet.devices` takes there with as many threads; ``None``
        if nobody measured it.
    batches
        Times of segments and decoders for several samples at once.
    energy, peak_bytes
        Energy of the stages, and the most memory that the measuring process had; ``None`` where
        that cannot be read.
    """

    device: str
    stages: Mapping[str, StageTime]
    facts: Mapping[str, str] = field(default_factory=dict)
    reference_s: float | None = None
    batches: tuple[BatchTime, ...] = ()
    energy: Energy | None = None
    peak_bytes: int | None = None


@record(frozen=True, slots=True)
class Load:
    """What a worker says of itself in every reply and pong."""

    queued: int = 0
    wait_us: int = 0
    busy_permille: int = 0
    batch: int = 0


@record(frozen=True, slots=True)
class Telemetry:
    """What is known of link and cloud now; ``None`` means never measured.

    Attributes
    ----------
    connected
        Whether a session is open and credit is left.
    rtt_s, queueing_s, goodput_bps
        Round trip time without server time, the part of it that is queueing on the link, and
        application bits delivered per second.
    unsent_bytes, retransmits
        Bytes that the kernel holds and has not sent once, and segments that it had to send again
        since the connection began; ``None`` where the kernel does not tell.
    link_age_s, cloud_age_s
        Seconds since the youngest sample of the link and of the cloud.
    cloud_wait_s
        Queueing time in front of the worker's executor.
    cloud_slowdown
        Measured over profiled run time at the worker; 1.0 when nothing is known.
    """

    connected: bool = False
    rtt_s: float | None = None
    queueing_s: float = 0.0
    goodput_bps: float | None = None
    unsent_bytes: int | None = None
    retransmits: int | None = None
    link_age_s: float | None = None
    cloud_wait_s: float = 0.0
    cloud_slowdown: float = 1.0
    cloud_age_s: float | None = None


DEVICE = "device"
"""Path name of plans that send nothing."""


class OptionKind(Enum):
    """What a continuation does: answer at once, send to the cloud, or go on locally."""

    ANSWER = "answer"
    OFFLOAD = "offload"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Option:
    """One feasible continuation of a request at a decision point.

    Attributes
    ----------
    plan
        The plan that this option follows (``LOCAL``: its path is ``device``; ``ANSWER``: the plan
        so far).
    exit
        The exit that answers (``ANSWER``, ``LOCAL``); ``None`` is the end of the network.
    accuracy
        Expected score in [0, 1], from the rows of the sample table that match what is known.
    device_s, cloud_s
        Expected device and cloud time still to be spent, queueing not included.
    uplink_bytes, downlink_bytes
        Expected payload sizes.
    exit_share
        Expected share of requests that an exit of the plan's rule answers on the way.
    exit_device_s
        Expected device time of such a request.
    replies
        Expected number of the cloud's replies to a request that is sent, each with a run of its
        own: more than one where refinements wait for answers.
    key
        Name of the way that this option follows, in plans, answers and logs.
    """

    kind: OptionKind
    plan: Plan
    exit: str | None
    accuracy: float
    device_s: float
    cloud_s: float = 0.0
    uplink_bytes: int = 0
    downlink_bytes: int = 0
    exit_share: float = 0.0
    exit_device_s: float = 0.0
    replies: float = 1.0
    key: str = field(init=False)

    def __post_init__(self) -> None:
        key = self.plan.key
        if self.plan.path == DEVICE:
            goal = self.exit if self.kind is OptionKind.LOCAL and self.exit else "end"
            key = f"{DEVICE}:{goal}{self.plan.rule_key}"
        object.__setattr__(self, "key", key)


class DecisionPoint(Enum):
    """When a policy is asked."""

    ADMISSION = "admission"
    EXIT = "exit"
    CREDIT = "credit"
    REFUSAL = "refusal"


@record(frozen=True, slots=True)
class DecisionState:
    """What a policy may look at besides the options."""

    point: DecisionPoint
    telemetry: Telemetry
    remaining_s: float | None
    confidence: float | None = None


@record(frozen=True, slots=True)
class Decision:
    """A policy's choice, why, and what would have been taken otherwise."""

    option: Option
    reason: str
    predicted_s: float
    runner_up: str | None = None


@record(frozen=True, slots=True)
class Provenance:
    """What ran where for one answer; every time in seconds, every size in bytes.

    Attributes
    ----------
    answered_by
        ``cloud``, ``exit``, ``device`` (the end of the network on the device) or ``skip`` (the
        prefilter found nothing of interest).
    plan, exit, level
        The plan followed, the exit that answered if any, and the level of the payload if any.
    device_segments, cloud_segments
        Half-open ranges ``(first, stop)`` of segments that ran on each side.
    uplink_bytes, downlink_bytes
        Payload bytes sent and received, and with ``header_bytes`` those of the messages.
    stages_s
        Time of each stage by its name.
    reason
        Why this plan, and why this answer.
    refinements
        How many refinements of the payload the cloud's answer is made of, and how many there are;
        ``None`` where there is one, or no answer of the cloud.
    """

    answered_by: Literal["cloud", "exit", "device", "skip"]
    plan: str
    exit: str | None
    level: int | None
    device_segments: tuple[int, int]
    cloud_segments: tuple[int, int] | None
    uplink_bytes: int
    downlink_bytes: int
    header_bytes: int
    stages_s: Mapping[str, float]
    reason: str
    refinements: tuple[int, int] | None = None


@record(frozen=True, slots=True)
class Outcome:
    """How a request ended, as a policy's ``observe`` sees it."""

    plan: str
    answered_by: str
    latency_s: float
    predicted_s: float
    uplink_bytes: int
    late: bool
