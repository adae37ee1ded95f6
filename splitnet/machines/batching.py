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

    Attributes
    ----------
    expires_s
        Infinite for a request without a budget.
    heard_bytes
        What had arrived of its session with the last byte of this request.
    ticket
        That of the assembly in which more of the request is awaited, 0 if this is all of it.
    """

    session: int
    request: int
    group: GroupKey
    item: BatchItem
    arrived_s: float
    expires_s: float
    stamp: int
    heard_bytes: int
    no_reply: bool = False
    ticket: int = 0


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

    @property
    def due_s(self) -> float:
        """When the first queued request becomes hopeless, infinite if none does."""
        if not self._queue:
            return inf
        return min([work.expires_s for work in self._queue]) - self.service_s

    def drop_hopeless(self, start_s: float, idle: bool) -> list[Work]:
        """Take out and return what would end behind its expiry if it began at `start_s`.

        An `idle` worker that has nothing better to do tries whatever has not expired: budget and
        service time are estimates, and a refusal would teach nobody that they are wrong.
        """
        if start_s < self.due_s:
            return []
        time_s = self.service_s
        if idle and all(work.expires_s - time_s <= start_s for work in self._queue):
            time_s = 0.0
        return self.remove(lambda work: work.expires_s - time_s <= start_s)

    def take(self, now_s: float) -> tuple[Work, ...]:
        """Return the next batch, empty if nothing is queued.

        It is no larger than what the earliest expiry allows.
        """
        if not self._queue:
            return ()
        self._queue.sort(key=lambda work: (work.expires_s, work.arrived_s))
        first = self._queue[0]
        items = self._max_batch
        if self.service_s and first.expires_s < inf:
            items = min(items, max(1, int((first.expires_s - now_s) / self.service_s)))
        batch = [work for work in self._queue if work.group == first.group][:items]
        self.remove(batch.__contains__)
        return tuple(batch)

    def remove(self, unwanted: Callable[[Work], bool]) -> list[Work]:
        """Take out and return every request for which `unwanted` holds."""
        removed = [work for work in self._queue if unwanted(work)]
        if removed:
            self._queue = [work for work in self._queue if not unwanted(work)]
        return removed

    def learn(self, batch_s: float, items: int) -> None:
        """Take the time of a batch."""
        sample_s = batch_s / max(items, 1)
        if self.service_s == 0.0:
            self.service_s = sample_s
        self.service_s += SERVICE_GAIN * (sample_s - self.service_s)

    def wait_s(self, running: int) -> float:
        """Return how long a request arriving now would wait, with `running` items under way."""
        return (len(self._queue) + running) * self.service_s
