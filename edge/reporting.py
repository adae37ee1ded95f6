"""What an edge process says: one JSON object an answer, and a summary at the end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from splitnet.edge.sources import Frame
from splitnet.machines.agent_io import Deliver
from splitnet.machines.answering import is_late
from splitnet.transport.tcp_info import TcpInfo

KEPT_LATENCIES = 100_000
"""Latest answers of a plan that percentiles are taken from, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application gets for one frame."""

    labels: list[int] | None
    confidence: float | None
    score: float | None
    error: str | None


def answer_line(delivered: Deliver, frame: Frame, answer: Answer) -> dict[str, Any]:
    """Return the JSON object of one answer; times are in milliseconds."""
    origin = delivered.provenance
    return {
        "request": delivered.request,
        "frame": delivered.frame,
        "name": frame.name,
        "labels": answer.labels,
        "confidence": _rounded(answer.confidence),
        "score": _rounded(answer.score),
        "latency_ms": _ms(delivered.latency_s),
        "deadline_ms": _ms(delivered.deadline_s),
        "late_ms": _ms(delivered.late_s),
        "timer_late_ms": _ms(delivered.timer_late_s),
        "late": is_late(delivered),
        "answered_by": origin.answered_by,
        "plan": origin.plan,
        "exit": origin.exit,
        "level": origin.level,
        "device_segments": origin.device_segments,
        "cloud_segments": origin.cloud_segments,
        "uplink_bytes": origin.uplink_bytes,
        "downlink_bytes": origin.downlink_bytes,
        "header_bytes": origin.header_bytes,
        "stages_ms": {stage: _ms(time_s) for stage, time_s in origin.stages_s.items()},
        "reason": origin.reason,
        "error": answer.error,
    }


@dataclass(slots=True)
class _Group:
    """Answers that were made in the same way."""

    answers: int = 0
    late: int = 0
    failed: int = 0
    scored: int = 0
    score: float = 0.0
    uplink_bytes: int = 0
    downlink_bytes: int = 0
    header_bytes: int = 0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_LATENCIES))

    def add(self, delivered: Deliver, answer: Answer) -> None:
        origin = delivered.provenance
        self.answers += 1
        self.late += is_late(delivered)
        self.failed += answer.error is not None
        if answer.score is not None:
            self.scored += 1
            self.score += answer.score
        self.uplink_bytes += origin.uplink_bytes
        self.downlink_bytes += origin.downlink_bytes
        self.header_bytes += origin.header_bytes
        self.latencies_s.append(delivered.latency_s)

    def to_json(self) -> dict[str, Any]:
        """Return counts, accuracy and latencies."""
        return {
            "answers": self.answers,
            "failed": self.failed,
            "late": self.late,
            "accuracy": _rounded(self.score / self.scored) if self.scored else None,
            "uplink_bytes": self.uplink_bytes,
            "downlink_bytes": self.downlink_bytes,
            "header_bytes": self.header_bytes,
            "latency_ms": {
                "p50": _ms(_percentile(self.latencies_s, 50)),
                "p95": _ms(_percentile(self.latencies_s, 95)),
            },
        }


class Summary:
    """Counts answers as they are handed over."""

    def __init__(self) -> None:
        self._all = _Group()
        self._by_plan: dict[tuple[str, str], _Group] = {}
        self._by: Counter[str] = Counter()
        self.frames = 0
        self.connects = 0
        self.link: TcpInfo | None = None

    @property
    def failed(self) -> int:
        """Number of frames that ended in an error instead of an answer."""
        return self._all.failed

    def add(self, delivered: Deliver, answer: Answer) -> None:
        """Take note of one answer."""
        origin = delivered.provenance
        by = "error" if answer.error else origin.answered_by
        self._by[by] += 1
        for group in (self._all, self._by_plan.setdefault((origin.plan, by), _Group())):
            group.add(delivered, answer)

    def to_json(self, counters: Mapping[str, int]) -> dict[str, Any]:
        """Return the whole summary; `counters` are the agent machine's."""
        plans = [
            {"plan": plan, "answered_by": by, **group.to_json()}
            for (plan, by), group in sorted(self._by_plan.items())
        ]
        return {
            "frames": self.frames,
            **self._all.to_json(),
            "dropped_frames": counters.get("dropped_frames", 0),
            "reconnects": max(0, self.connects - 1),
            "answered_by": dict(sorted(self._by.items())),
            "link": None if self.link is None else _link(self.link),
            "plans": plans,
            "counters": dict(sorted(counters.items())),
        }


def _link(info: TcpInfo) -> dict[str, Any]:
    """Return the kernel's last figures of the connection."""
    return {
        "rtt_ms": _ms(info.rtt_s),
        "min_rtt_ms": _ms(info.min_rtt_s),
        "retransmits": info.retransmits,
        "unsent_bytes": info.unsent_bytes,
        "delivery_bps": info.delivery_bps,
        "app_limited": info.app_limited,
    }


def _percentile(values: Iterable[float], percent: int) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, percent * len(ordered) // 100)] if ordered else None


def _ms(time_s: float | None) -> float | None:
    return None if time_s is None else round(1000 * time_s, 3)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
