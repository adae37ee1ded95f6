"""What can be set of a worker process, on the command line, in the environment or in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splitnet.config import check_positive, option
from splitnet.errors import ConfigError
from splitnet.wire import Welcome, check_field

MIN_LEASE_S, MAX_LEASE_S = 0.1, 3600.0
"""Shorter leases are all traffic, and longer ones keep what is gone."""


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
    directory, directory_key
        Directory to announce this worker to, and its public key (a file, or the key itself).
    advertise
        Address under which devices reach this worker, if that is not the one it is bound to.
    lease_s
        A directory forgets a worker that has not announced itself for so long.
    replicas
        Workers that Ray Serve runs; one process without Ray is one worker.
    key, allow
        This worker's secret key file, and the list of the keys that may connect; needed for every
        address that is not loopback.
    """

    bundle: Path
    bind: str = "tcp://127.0.0.1:5555"
    max_batch: int = 8
    threads: int = 1
    max_request_bytes: int = 4 << 20
    max_chunk_bytes: int = 256 << 10
    max_sessions: int = 1024
    send_queue_bytes: int = 16 << 20
    key: Path | None = None
    allow: Path | None = None
    directory: str | None = None
    directory_key: str | None = None
    advertise: str | None = None
    lease_s: float = 10.0
    replicas: int = 1

    def __post_init__(self) -> None:
        check_positive(
            self,
            "max_batch",
            "threads",
            "max_request_bytes",
            "max_chunk_bytes",
            "max_sessions",
            "send_queue_bytes",
            "replicas",
        )
        for name in ("max_request_bytes", "max_chunk_bytes"):
            try:
                check_field(Welcome, name, getattr(self, name))
            except ValueError as error:
                raise ConfigError(f"{option(name)}{error}") from None
        if not MIN_LEASE_S <= self.lease_s <= MAX_LEASE_S:
            raise ConfigError(
                f"--lease-s is {self.lease_s}, it must be from {MIN_LEASE_S:g} to {MAX_LEASE_S:g}"
            )


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """Settings of ``splitnet cloud directory``; the names are those of its options.

    Attributes
    ----------
    max_workers
        Workers remembered at once; further ones are refused.
    max_lease_s
        Longer leases are refused.
    key, allow
        As for a worker; the list names workers and devices.
    """

    bind: str = "tcp://127.0.0.1:5550"
    max_workers: int = 4096
    max_lease_s: float = 60.0
    key: Path | None = None
    allow: Path | None = None

    def __post_init__(self) -> None:
        check_positive(self, "max_workers", "max_lease_s")
