"""What goes into the agent machine and what comes out of it.

Tensors never pass through the machine: a driver keeps them by request, and the machine names the
stage to run on them. A payload is anything with a length that can be sliced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar, TypeAlias

from splitnet.records import record
from splitnet.values import (
    PREPARE_STAGE,
    SKIP,
    Provenance,
    encode_stage,
    exit_stage,
    fused_stage,
    segment_stage,
)
from splitnet.wire import Message, Payload

NOT_PREPARED = -1
"""Boundary of a request whose sample has not been preprocessed yet."""

# --- stages -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepare:
    """Preprocess the sample into the tensors of boundary 0."""

    keys: ClassVar[tuple[str, ...]] = (PREPARE_STAGE,)
    reaches: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class RunSegments:
    """Run segments `first` to `stop - 1`: from boundary `first` to boundary `stop`.

    If `stop` is the last boundary, the outcome is a `LocalResult`, otherwise ``None``. With
    `fused` they run as one graph, and the boundaries in between are not seen.
    """

    first: int
    stop: int
    fused: bool = False
    keys: tuple[str, ...] = field(init=False, repr=False, compare=False)
    reaches: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.fused:
            keys: tuple[str, ...] = (fused_stage(self.first, self.stop),)
        else:
            keys = tuple(segment_stage(index) for index in range(self.first, self.stop))
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "reaches", self.stop)


@dataclass(frozen=True, slots=True)
class RunExit:
    """Run the exit graph `exit` on the tensors of its boundary; the outcome is a `LocalResult`.

    The prefilter's (`SKIP`) is only an answer where it is sure that there is nothing of interest.
    """

    exit: str
    keys: tuple[str, ...] = field(init=False, repr=False, compare=False)
    reaches: ClassVar[int] = NOT_PREPARED

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", (exit_stage(self.exit),))

    @property
    def answers(self) -> bool:
        """Whether the outcome can always be handed over."""
        return self.exit != SKIP


@dataclass(frozen=True, slots=True)
class Encode:
    """Run the encoder and the codecs of `path` at `level`; the outcome is an `Encoded`."""

    path: str
    level: int
    keys: tuple[str, ...] = field(init=False, repr=False, compare=False)
    reaches: ClassVar[int] = NOT_PREPARED

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", (encode_stage(self.path, self.level),))


Stage: TypeAlias = Prepare | RunSegments | RunExit | Encode
"""What the device does in one go.

`keys` are the profile keys that it consists of, `reaches` the boundary whose tensors there are
behind it, if it makes any.
"""

PREPARE = Prepare()
run_segments, run_exit, encode = cache(RunSegments), cache(RunExit), cache(Encode)
"""Make a stage, or return the one of before: few different ones are needed again and again."""


@record(frozen=True, slots=True)
class LocalResult:
    """An answer computed on the device; `answer` is the driver's own and passed through."""

    confidence: float
    answer: object


@record(frozen=True, slots=True)
class Encoded:
    """A payload ready to be sent, and the values of the dynamic dimensions.

    Attributes
    ----------
    payload, refinements
        The first refinement, which is the base of the others, and those behind it, best first.
    """

    payload: Payload
    dims: tuple[int, ...] = ()
    refinements: tuple[Payload, ...] = ()

    @property
    def parts(self) -> tuple[Payload, ...]:
        """All refinements, the base first."""
        return (self.payload, *self.refinements)

    @property
    def nbytes(self) -> int:
        """Bytes of all refinements."""
        return sum(map(len, self.refinements), len(self.payload))


StageOutcome: TypeAlias = LocalResult | Encoded | None
"""What a stage finds out, if it finds out anything that the machine must know."""

# --- events -------------------------------------------------------------------------------------


@record(frozen=True, slots=True)
class FrameArrived:
    """A source produced `frame` (a number of the driver's) at `arrived_s`."""

    frame: int
    arrived_s: float


@record(frozen=True, slots=True)
class StagesDone:
    """All stages of `job` ended well, each after its duration; `outcome` is that of the last."""

    job: int
    durations_s: tuple[float, ...]
    outcome: StageOutcome = None


@record(frozen=True, slots=True)
class StagesFailed:
    """A stage of `job` raised behind those that took `durations_s`; `message` is one line."""

    job: int
    message: str
    durations_s: tuple[float, ...] = ()


@record(frozen=True, slots=True)
class LinkUp:
    """The connection asked for with `OpenLink` is established."""


@record(frozen=True, slots=True)
class LinkDown:
    """The connection is gone or could not be made."""

    reason: str


@record(frozen=True, slots=True)
class LinkFigures:
    """What the kernel says of the connection; of its first leg only, if a forwarder is in between.

    Attributes
    ----------
    rtt_s
        The kernel's smoothed round trip time.
    unsent_bytes
        What the kernel holds and has not sent once.
    retransmits
        Segments sent again since the connection began.
    """

    rtt_s: float
    unsent_bytes: int
    retransmits: int


@record(frozen=True, slots=True)
class Received:
    """A message of the worker arrived, complete and parsed.

    `confidence` is how sure the answer in a reply that is not final is, ``None`` if it cannot be
    read; of other messages it means nothing.
    """

    message: Message
    confidence: float | None = None


@record(frozen=True, slots=True)
class Garbled:
    """Bytes arrived that are not a message (`reason` is one line)."""

    reason: str


@record(frozen=True, slots=True)
class Tick:
    """The time of `wakeup_s` has come.

    `late_s` is by how much the timer overshot: from the moment asked for, or from the moment the
    driver began to wait if that was later, until the driver woke up.
    """

    late_s: float = 0.0


@record(frozen=True, slots=True)
class Drain:
    """Admit nothing more, answer what was admitted, then say bye."""


AgentEvent: TypeAlias = (
    FrameArrived
    | StagesDone
    | StagesFailed
    | LinkUp
    | LinkDown
    | LinkFigures
    | Received
    | Garbled
    | Tick
    | Drain
)

# --- actions ------------------------------------------------------------------------------------


@record(frozen=True, slots=True)
class OpenLink:
    """Open a fresh connection to the worker."""


@record(frozen=True, slots=True)
class CloseLink:
    """Close the connection if there is one; nothing unsent may survive it."""


@record(frozen=True, slots=True)
class Send:
    """Send a message on the open connection."""

    message: Message


@record(frozen=True, slots=True)
class RunStages:
    """Run stages of a request on the device's executor, which is free, one after the other.

    Only the last one may have an outcome. The frame is the one that the request was made of; all
    together usually take `expected_s`.
    """

    job: int
    request: int
    frame: int
    stages: tuple[Stage, ...]
    expected_s: float = 0.0


@record(frozen=True, slots=True)
class CloudResult:
    """The payload of a reply, made of so many `refinements`; the driver decodes it."""

    payload: Payload
    dims: tuple[int, ...] = ()
    refinements: int = 1


@record(frozen=True, slots=True)
class Deliver:
    """Hand the one final answer of a request to the application.

    Attributes
    ----------
    result
        A `LocalResult`, a `CloudResult`, or
        ``None`` if the request ended in `error`.
    latency_s, deadline_s
        From the arrival of the frame to now, and the deadline counted from the same moment.
    late_s, timer_late_s
        By how much the answer is behind its deadline (negative if early), and by how much the
        timer behind this answer overshot (0 if no timer was involved).
    """

    request: int
    frame: int
    result: LocalResult | CloudResult | None
    provenance: Provenance
    latency_s: float
    deadline_s: float | None
    late_s: float | None
    timer_late_s: float
    error: str | None = None


@record(frozen=True, slots=True)
class Release:
    """Forget the tensors of a request."""

    request: int


@record(frozen=True, slots=True)
class DropFrame:
    """A frame that was never admitted is thrown away (newest wins, or it can no longer make it)."""

    frame: int
    reason: str


@record(frozen=True, slots=True)
class Report:
    """Something an operator should read, as one line: ``event`` and ``key=value`` details."""

    event: str
    detail: str
    warning: bool = False


@record(frozen=True, slots=True)
class Finished:
    """Draining is complete: everything is answered and the worker was told."""


AgentAction: TypeAlias = (
    OpenLink | CloseLink | Send | RunStages | Deliver | Release | DropFrame | Report | Finished
)
