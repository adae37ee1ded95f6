"""What can be set of an edge process, on the command line, in the environment or in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from splitnet.config import check_positive, option
from splitnet.errors import ConfigError
from splitnet.wire import Hello, check_field


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """Settings of ``splitnet edge run``; the names are those of its options.

    Attributes
    ----------
    connect, directory
        Where the worker is, or the directory that knows workers: one of both.
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
    key, server_key, directory_key
        This device's secret key file, and the public key or its file of the worker or of the
        directory; needed for every address that is not loopback.
    max_reply_bytes, send_queue_bytes
        Largest reply accepted, and bound on what waits to be sent.
    probe_budget_bps
        Bits a second that probes of the link may cost on average while requests come; 0 for none.
    """

    bundle: Path
    source: str
    connect: str | None = None
    directory: str | None = None
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
    key: Path | None = None
    server_key: str | None = None
    directory_key: str | None = None
    max_reply_bytes: int = 1 << 20
    send_queue_bytes: int = 16 << 20
    probe_budget_bps: float = 64e3

    def __post_init__(self) -> None:
        if (self.connect is None) == (self.directory is None):
            raise ConfigError(
                "give one of --connect, the address of a worker, and --directory, the address of "
                "the directory that knows workers"
            )
        check_positive(
            self,
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
        )
        if not 0 <= self.probe_budget_bps < inf:
            raise ConfigError(
                f"{option('probe_budget_bps')} is {self.probe_budget_bps}, it must be 0 (no "
                "probes) or above, and finite"
            )
        for name in ("device", "max_reply_bytes"):
            try:
                check_field(Hello, name, getattr(self, name))
            except ValueError as error:
                raise ConfigError(f"{option(name)}{error}") from None
