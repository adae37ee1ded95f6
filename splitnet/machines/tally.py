"""What is counted of answers, whoever drives the machine: how many, how right, late and big."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from typing import Any

from splitnet.machines.agent_io import Deliver
from splitnet.machines.answering import is_late


class Tally:
    """Counts answers, all together and by plan and who answered.

    Parameters
    ----------
    kept
        Latest latencies of a group that percentiles are taken from, so that memory stays bounded;
        ``None`` keeps them all.
    """

    def __init__(self, kept: int | None = None) -> None:
        self._kept = kept
        self._all = _Group(kept)
        self._by: Counter[str] = Counter()
        self._by_plan: dict[tuple[str, str], _Group] = {}

    @property
    def failed(self) -> int:
        """Number of frames that ended in an error instead of an answer."""
        return self._all.failed

    def add(self, delivered: Deliver, score: float | None, error: str | None) -> None:
        """Take note of one answer.

        Parameters
        ----------
        score
            How right it is, if that is known.
        error
            Why it is none, if it is none.
        """
        plan, by = delivered.provenance.plan, delivered.provenance.answered_by
        how = by if error is None else "error"
        self._by[how] += 1
        if (plan, how) not in self._by_plan:
            self._by_plan[plan, how] = _Group(self._kept)
        for group in (self._all, self._by_plan[plan, how]):
            group.add(delivered, score, error)

    def to_json(self) -> dict[str, Any]:
        """Return counts, accuracy, bytes and latencies in milliseconds; of all and of ``plans``.

        ``coarse`` counts the answers that are made of fewer refinements than there are.
        """
        return {
            **self._all.to_json(),
            "answered_by": dict(sorted(self._by.items())),
            "plans": [
                {"plan": plan, "answered_by": how, **group.to_json()}
                for (plan, how), group in sorted(self._by_plan.items())
            ],
        }


class _Group:
    """Answers that were made in the same way."""

    def __init__(self, kept: int | None) -> None:
        self.answers = 0
        self.failed = 0
        self.late = 0
        self.coarse = 0
        self.scored = 0
        self.score = 0.0
        self.uplink_bytes = 0
        self.downlink_bytes = 0
        self.header_bytes = 0
        self.latencies_s: deque[float] = deque(maxlen=kept)

    def add(self, delivered: Deliver, score: float | None, error: str | None) -> None:
        origin = delivered.provenance
        self.answers += 1
        self.failed += error is not None
        self.late += is_late(delivered)
        used, sent = origin.refinements or (1, 1)
        self.coarse += used < sent
        if score is not None:
            self.scored += 1
            self.score += score
        self.uplink_bytes += origin.uplink_bytes
        self.downlink_bytes += origin.downlink_bytes
        self.header_bytes += origin.header_bytes
        self.latencies_s.append(delivered.latency_s)

    def to_json(self) -> dict[str, Any]:
        return {
            "answers": self.answers,
            "failed": self.failed,
            "late": self.late,
            "coarse": self.coarse,
            "accuracy": rounded(self.score / self.scored) if self.scored else None,
            "uplink_bytes": self.uplink_bytes,
            "downlink_bytes": self.downlink_bytes,
            "header_bytes": self.header_bytes,
            "latency_ms": {
                "p50": milliseconds(_percentile(self.latencies_s, 50)),
                "p95": milliseconds(_percentile(self.latencies_s, 95)),
            },
        }


def milliseconds(time_s: float | None) -> float | None:
    """Return a time as answers and summaries show it."""
    return None if time_s is None else round(1000 * time_s, 3)


def rounded(value: float | None) -> float | None:
    """Return a score or a confidence as answers and summaries show it."""
    return None if value is None else round(value, 6)


def _percentile(values: Collection[float], percent: int) -> float | None:
    """Return a percentile by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, percent * len(ordered) // 100)] if ordered else None
