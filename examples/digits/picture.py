"""The picture of the demo; it needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from examples.digits.road import DEAD, STEP_S, phase_at, rates_mbps
from examples.digits.stream import Stream
from splitnet.sim.plotting import AnswerPoint, LinkPoint, Span, plot


def draw(stream: Stream, seed: int, file: Path) -> None:
    """Draw the stream beside the link of `seed` that it went over into `file`."""
    end_s = max(stream.arrived_s(answer) for answer in stream.answers)
    plot(
        file,
        f"Pages of digits at {stream.rate_hz:g}/s over a link that fades, dies and comes back",
        answers=[
            AnswerPoint(
                stream.arrived_s(answer),
                "error" if answer["error"] else answer["answered_by"],
                answer["plan"],
                answer["uplink_bytes"],
                answer["latency_ms"] / 1000,
            )
            for answer in stream.answers
        ],
        link=_link(seed, end_s),
        spans=[
            Span(phase.name, phase.start_s, min(phase.end_s, end_s), phase is DEAD)
            for phase in stream.phases
            if phase.start_s < end_s
        ],
        deadline_s=stream.deadline_s,
    )


def _link(seed: int, end_s: float) -> list[LinkPoint]:
    points = []
    for step, rate_mbps in enumerate(rates_mbps(seed)):
        time_s = step * STEP_S
        rate_bps = 0.0 if phase_at(time_s) is DEAD else 1e6 * rate_mbps
        if time_s < end_s:
            points.append(LinkPoint(time_s, rate_bps, rate_bps))
    return [*points, LinkPoint(end_s, points[-1].up_bps, points[-1].down_bps)]
