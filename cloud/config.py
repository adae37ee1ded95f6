"""What can be set of a worker process, on the command line, in the environment or in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splitnet.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """Settings of ``splitnet cloud serve``; the names are those of its options.

    Attributes
    ----------
    max_batch
        Requests computed together at most.
    max_request_bytes, max_chunk_bytes
        Largest payload of a request, and of one message.
    max_sessions
        Devices served at once.
    send_queue_bytes
        Bound on what waits for one device that does not read; beyond it the device is given up.
    """

    bundle: Path
    bind: str = "tcp://127.0.0.1:5555"
    max_batch: int = 8
    threads: int = 1
    max_request_bytes: int = 4 << 20
    max_chunk_bytes: int = 256 << 10
    max_sessions: int = 1024
    send_queue_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        for name in (
            "max_batch",
            "threads",
            "max_request_bytes",
            "max_chunk_bytes",
            "max_sessions",
            "send_queue_bytes",
        ):
            value = getattr(self, name)
            if not value > 0:
                option = "--" + name.replace("_", "-")
                raise ConfigError(f"{option} is {value}, it must be above 0")
