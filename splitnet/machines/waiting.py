"""Requests at a worker of which more may arrive, in the order in which their budgets end."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf
from typing import TypeAlias

from splitnet.machines.session import Assembly, Session

Entry: TypeAlias = tuple[float, int, Session, int]
"""End of its budget, ticket, session and number of a request."""

TIDY_AT = 64
"""So many requests that wait no longer may be remembered, and as many as there are that wait."""


class Waiting:
    """A heap of assemblies; those that have ended otherwise are forgotten in passing.

    Parameters
    ----------
    tickets
        Names assemblies: the number of a request is free again once it has ended.
    """

    def __init__(self, tickets: Iterator[int]) -> None:
        self._heap: list[Entry] = []
        self._tickets = tickets
        self._tidy_at = TIDY_AT

    def __len__(self) -> int:
        """Return the number of entries, those that are only not forgotten yet included."""
        return len(self._heap)

    @property
    def due_s(self) -> float:
        """When the first budget ends, infinite if none does."""
        while self._heap:
            if _waits(self._heap[0]):
                return self._heap[0][0]
            heapq.heappop(self._heap)
        return inf

    def add(self, session: Session, assembly: Assembly) -> None:
        """Let a request wait; forget those that do not any more now and then."""
        assembly.ticket = next(self._tickets)
        entry = assembly.expires_s, assembly.ticket, session, assembly.infer.request
        heapq.heappush(self._heap, entry)
        if len(self._heap) > self._tidy_at:
            self._heap = list(filter(_waits, self._heap))
            heapq.heapify(self._heap)
            self._tidy_at = 2 * len(self._heap) + TIDY_AT

    def take(self, now_s: float, lead_s: float = 0.0) -> list[tuple[Session, Assembly]]:
        """Take out and return the requests whose budgets end within `lead_s`."""
        taken = []
        while self.due_s - lead_s <= now_s and self._heap:
            _, _, session, request = heapq.heappop(self._heap)
            taken.append((session, session.assembling[request]))
        return taken


def _waits(entry: Entry) -> bool:
    """Return whether the assembly of an entry is still there."""
    _, ticket, session, request = entry
    return session.assembly(request, ticket) is not None
