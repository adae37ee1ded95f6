"""The bounds of an agent: deadlines, queues, margins, and those of its connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from splitnet.machines.link import LinkConfig


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Bounds of the agent.

    Attributes
    ----------
    deadline_s
        From the arrival of a frame; ``None`` makes every request deferred.
    expiry_s
        A deferred request that the cloud has not answered by then is answered locally.
    drain_s
        While draining, a deferred request waits for the cloud at most this long.
    queue_frames
        Frames that may wait for admission; the newest win.
    max_inflight
        Requests that may be under way at once.
    guard_s
        A local answer is handed over this long before the deadline.
    rescue_margin_s
        Work on a local answer begins this long before it must: timers overshoot by up to 15 ms.
    """

    deadline_s: float | None = None
    expiry_s: float = 60.0
    drain_s: float = 5.0
    queue_frames: int = 2
    max_inflight: int = 8
    guard_s: float = 0.002
    rescue_margin_s: float = 0.015
    link: LinkConfig = field(default_factory=LinkConfig)
