"""What an edge process says: one JSON object an answer, and a summary at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitnet.edge.sources import Frame
from splitnet.machines.agent_io import Deliver
from splitnet.machines.answering import is_late
from splitnet.machines.tally import Tally, milliseconds, rounded
from splitnet.transport.tcp_info import TcpInfo

KEPT_LATENCIES = 100_000
"""Latest answers of a plan that percentiles are taken from, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application gets for one frame (see `splitnet.runtime.reading.Reading`)."""

    labels: list[int] | None
    confidence: float | None
    score: float | None
    error: str | None
    details: list[Any] | None = None


def answer_line(delivered: Deliver, frame: Frame, answer: Answer) -> dict[str, Any]:
    """Return the JSON object of one answer; times are in milliseconds."""
    origin = delivered.provenance
    return {
        "request": delivered.request,
        "frame": delivered.frame,
        "name": frame.name,
        "labels": answer.labels,
        "details": answer.details,
        "confidence": rounded(answer.confidence),
        "score": rounded(answer.score),
        "latency_ms": milliseconds(delivered.latency_s),
        "deadline_ms": milliseconds(delivered.deadline_s),
        "late_ms": milliseconds(delivered.late_s),
        "timer_late_ms": milliseconds(delivered.timer_late_s),
        "late": is_late(delivered),
        "answered_by": origin.answered_by,
        "plan": origin.plan,
        "exit": origin.exit,
        "level": origin.level,
        "refinements": origin.refinements,
        "device_segments": origin.device_segments,
        "cloud_segments": origin.cloud_segments,
        "uplink_bytes": origin.uplink_bytes,
        "downlink_bytes": origin.downlink_bytes,
        "header_bytes": origin.header_bytes,
        "stages_ms": {stage: milliseconds(time_s) for stage, time_s in origin.stages_s.items()},
        "reason": origin.reason,
        "error": answer.error,
    }


class Summary:
    """Counts answers as they are handed over."""

    def __init__(self) -> None:
        self._tally = Tally(KEPT_LATENCIES)
        self.frames = 0
        self.connects = 0
        self.link: TcpInfo | None = None

    @property
    def failed(self) -> int:
        """Number of frames that ended in an error instead of an answer."""
        return self._tally.failed

    def add(self, delivered: Deliver, answer: Answer) -> None:
        """Take note of one answer."""
        self._tally.add(delivered, answer.score, answer.error)

    def to_json(self, counters: Mapping[str, int]) -> dict[str, Any]:
        """Return the whole summary; `counters` are the agent machine's."""
        return {
            "frames": self.frames,
            **self._tally.to_json(),
            "dropped_frames": counters.get("dropped_frames", 0),
            "reconnects": max(0, self.connects - 1),
            "link": None if self.link is None else _link(self.link),
            "counters": dict(sorted(counters.items())),
        }


def _link(info: TcpInfo) -> dict[str, Any]:
    """Return the kernel's last figures of the connection."""
    return {
        "rtt_ms": milliseconds(info.rtt_s),
        "min_rtt_ms": milliseconds(info.min_rtt_s),
        "retransmits": info.retransmits,
        "unsent_bytes": info.unsent_bytes,
        "delivery_bps": info.delivery_bps,
        "app_limited": info.app_limited,
    }
