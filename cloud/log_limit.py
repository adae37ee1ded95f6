"""A bound on the lines that one peer can bring into the log."""

from __future__ import annotations

from dataclasses import dataclass

INTERVAL_S = 1.0
"""Time between two lines of one peer."""

MAX_PEERS = 1024
"""Peers told apart; the others share one line an interval."""


@dataclass(slots=True)
class _Told:
    at_s: float
    withheld: int = 0


class LogLimit:
    """Lets the first line of a peer pass at once, and then at most one an interval."""

    def __init__(self, interval_s: float = INTERVAL_S, max_peers: int = MAX_PEERS) -> None:
        self._interval_s = interval_s
        self._max_peers = max_peers
        self._told: dict[bytes, _Told] = {}
        self._others: _Told | None = None

    def admit(self, peer: bytes, now_s: float) -> int | None:
        """Return how many lines were withheld before this one, ``None`` to withhold it, too."""
        self._forget(now_s)
        told = self._told.get(peer)
        shared = told is None and len(self._told) >= self._max_peers
        if shared:
            told = self._others
        if told is not None and now_s < told.at_s + self._interval_s:
            told.withheld += 1
            return None
        if shared:
            self._others = _Told(now_s)
        else:
            self._told.pop(peer, None)  # the latest stands last
            self._told[peer] = _Told(now_s)
        return 0 if told is None else told.withheld

    def _forget(self, now_s: float) -> None:
        """Make room: drop peers whose interval has passed, the oldest first."""
        while len(self._told) >= self._max_peers:
            oldest = next(iter(self._told))
            if now_s < self._told[oldest].at_s + self._interval_s:
                return
            del self._told[oldest]
