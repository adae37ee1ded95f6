"""What goes into the worker machine and what comes out of it.

A peer is the transport's own name of a connection; a session is what the worker issued to it.
"""

from __future__ import annotations

from typing import TypeAlias

from splitnet.errors import WireCode
from splitnet.records import record
from splitnet.wire import Message, Payload


@record(frozen=True, slots=True)
class BatchItem:
    """One payload of a batch.

    Attributes
    ----------
    payload, refinements
        The first refinement, which is the base of the others, and those behind it that arrived.
    """

    path: str
    level: int
    payload: Payload
    dims: tuple[int, ...] = ()
    refinements: tuple[Payload, ...] = ()


@record(frozen=True, slots=True)
class ItemResult:
    """What became of one item: the bytes of its reply, or why there are none."""

    payload: Payload | None
    dims: tuple[int, ...] = ()
    code: WireCode = WireCode.INTERNAL
    message: str = ""


# --- events -------------------------------------------------------------------------------------


@record(frozen=True, slots=True)
class PeerMessage:
    """A complete, parsed message of `peer` arrived."""

    peer: bytes
    message: Message


@record(frozen=True, slots=True)
class PeerGarbled:
    """Bytes of `peer` are not a message; `code` is the error's."""

    peer: bytes
    code: WireCode
    reason: str


@record(frozen=True, slots=True)
class PeerGone:
    """A message to `peer` could not be delivered: its connection is gone."""

    peer: bytes


@record(frozen=True, slots=True)
class BatchDone:
    """The batch ended; `results` are in the order of its items."""

    batch: int
    decode_s: float
    run_s: float
    results: tuple[ItemResult, ...]


@record(frozen=True, slots=True)
class WorkerTick:
    """The time of `wakeup_s` has come."""


@record(frozen=True, slots=True)
class WorkerDrain:
    """Accept nothing more, answer what is queued, then say bye to every session."""


WorkerEvent: TypeAlias = PeerMessage | PeerGarbled | PeerGone | BatchDone | WorkerTick | WorkerDrain

# --- actions ------------------------------------------------------------------------------------


@record(frozen=True, slots=True)
class SendTo:
    """Send a message to a peer, without ever blocking."""

    peer: bytes
    message: Message


@record(frozen=True, slots=True)
class RunBatch:
    """Decode the items, run segments `entry` to `stop - 1` of contract `handle` on all of them.

    The executor is free; the result comes back as `BatchDone`, usually after `expected_s` (0 if
    nothing is known).
    """

    batch: int
    handle: int
    entry: int
    stop: int
    items: tuple[BatchItem, ...]
    expected_s: float = 0.0


@record(frozen=True, slots=True)
class WorkerReport:
    """Something an operator should read, as one line: ``event`` and ``key=value`` details."""

    event: str
    detail: str
    warning: bool = False


@record(frozen=True, slots=True)
class WorkerFinished:
    """Draining is complete."""


WorkerAction: TypeAlias = SendTo | RunBatch | WorkerReport | WorkerFinished
