"""Which requests the worker runs together, and in which order.

After decoding, codec and level no longer matter: requests of one contract that enter at the same
boundary and stop at the same one share a batch. The earliest expiry goes first; there is no waiting
for company, since batches form by themselves behind a busy executor.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeAlias

from splitnet.machines.worker_io import BatchItem
from splitnet.records import record

GroupKey: TypeAlias = tuple[int, int, int]
"""Contract handle, entry boundary, boundary at which to stop."""

SERVICE_GAIN = 1 / 8
"""Weight of a new measurement of the service time."""


@record(frozen=True, slots=True)
class Work:
    """A complete request in the worker's queue.

    `expires_s` is infinite for a request without a budget.
    """

    session: int
    request: int
    group: GroupKey
    item: BatchItem
    arrived_s: float
    expires_s: float
    stamp: int
    no_reply: bool = False


class Batcher:
    """The worker's queue, and `service_s`, the time of one item that it has learned."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._queue: list[Work] = []
        self.service_s = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, work: Work) -> None:
        """Queue a complete request."""
        self._queue.append(work)

    def take(self) -> tuple[Work, ...]:
        """Return the next batch, empty if nothing is queued."""
        if not self._queue:
            return ()
        self._queue.sort(key=lambda work: (work.expires_s, work.arrived_s))
        group = self._queue[0].group
        batch = [work for work in self._queue if work.group == group][: self._max_batch]
        self.remove(batch.__contains__)
        return tuple(batch)

    def remove(self, unwanted: Callable[[Work], bool]) -> list[Work]:
        """Take out and return every request for which `unwanted` holds."""
        removed = [work for work in self._queue if unwanted(work)]
        if removed:
            self._queue = [work for work in self._queue if not unwanted(work)]
        return removed

    def next_expiry_s(self) -> float:
        """Return when the first queued request expires, infinite if none does."""
        return min((work.expires_s for work in self._queue), default=inf)

    def learn(self, batch_s: float, items: int) -> None:
        """Take the time of a batch."""
        sample_s = batch_s / max(items, 1)
        if self.service_s == 0.0:
            self.service_s = sample_s
        self.service_s += SERVICE_GAIN * (sample_s - self.service_s)

    def wait_s(self, running: int) -> float:
        """Return how long a request arriving now would wait, with `running` items under way."""
        return (len(self._queue) + running) * self.service_s
