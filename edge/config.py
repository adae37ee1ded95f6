"""What can be set of an edge process, on the command line, in the environment or in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from splitnet.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """Settings of ``splitnet edge run``; the names are those of its options.

    Attributes
    ----------
    deadline_ms
        From the arrival of a frame to its answer; ``None`` makes requests deferred.
    expiry_s
        A deferred request that the cloud has not answered by then is answered locally.
    rate
        Frames a second of a live source; ``None`` pulls the next frame when there is room.
    limit, repeat
        Number of frames at most, and how often the source is gone through.
    queue, max_inflight
        Frames that may wait for admission (the newest win), requests under way at once.
    max_reply_bytes, send_queue_bytes
        Largest reply accepted, and bound on what waits to be sent.
    """

    bundle: Path
    connect: str
    source: str
    policy: str = "greedy"
    deadline_ms: float | None = None
    expiry_s: float = 60.0
    rate: float | None = None
    limit: int | None = None
    repeat: int = 1
    queue: int = 2
    max_inflight: int = 8
    threads: int = 1
    emulate_device: str | None = None
    device: str = field(default_factory=lambda: os.uname().nodename)
    max_reply_bytes: int = 1 << 20
    send_queue_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        for name in (
            "deadline_ms",
            "expiry_s",
            "rate",
            "limit",
            "repeat",
            "queue",
            "max_inflight",
            "threads",
            "max_reply_bytes",
            "send_queue_bytes",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                option = "--" + name.replace("_", "-")
                raise ConfigError(f"{option} is {value}, it must be above 0")
