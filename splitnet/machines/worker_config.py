"""The bounds of a worker: batches, requests, sessions, credit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Bounds of the worker.

    Attributes
    ----------
    window_requests, window_bytes
        Credit of one session: what it may have in the worker at once.
    retry_after_ms
        What a refused agent is told to wait while the worker drains or is overdrawn.
    """

    max_batch: int = 8
    max_request_bytes: int = 4 << 20
    max_chunk_bytes: int = 256 << 10
    max_sessions: int = 1024
    window_requests: int = 64
    window_bytes: int = 8 << 20
    heartbeat_s: float = 1.0
    retry_after_ms: int = 200
