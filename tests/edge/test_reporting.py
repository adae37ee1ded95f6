"""What is said of one answer and of all."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np

from splitnet.edge.reporting import Answer, Summary, answer_line
from splitnet.edge.sources import Frame
from splitnet.machines.agent_io import CloudResult, Deliver, LocalResult
from splitnet.transport.tcp_info import TcpInfo
from splitnet.values import Provenance

FRAME = Frame("page", lambda: np.zeros(1))


def delivered(
    by: Literal["cloud", "exit", "device"] = "cloud",
    latency_s: float = 0.1,
    late_s: float | None = -0.05,
    timer_late_s: float = 0.0,
    error: str | None = None,
) -> Deliver:
    return Deliver(
        request=7,
        frame=3,
        result=None if error else CloudResult(b"") if by == "cloud" else LocalResult(0.9, [1]),
        provenance=Provenance(
            answered_by=by,
            plan="c1@1+exits",
            exit="e1" if by == "exit" else None,
            level=1,
            device_segments=(0, 1),
            cloud_segments=(1, 3) if by == "cloud" else None,
            uplink_bytes=100,
            downlink_bytes=10,
            header_bytes=20,
            stages_s={"prepare": 0.0012345},
            reason="because",
            refinements=(2, 3) if by == "cloud" else None,
        ),
        latency_s=latency_s,
        deadline_s=None if late_s is None else latency_s - late_s,
        late_s=late_s,
        timer_late_s=timer_late_s,
        error=error,
    )


def test_a_line_carries_the_answer_and_its_provenance() -> None:
    line: dict[str, Any] = json.loads(
        json.dumps(answer_line(delivered(), FRAME, Answer([1, 2], 0.9, 0.5, None)))
    )
    expected = {
        "request": 7,
        "frame": 3,
        "name": "page",
        "labels": [1, 2],
        "details": None,
        "confidence": 0.9,
        "score": 0.5,
        "latency_ms": 100.0,
        "deadline_ms": 150.0,
        "late_ms": -50.0,
        "timer_late_ms": 0.0,
        "late": False,
        "answered_by": "cloud",
        "plan": "c1@1+exits",
        "exit": None,
        "level": 1,
        "refinements": [2, 3],
        "device_segments": [0, 1],
        "cloud_segments": [1, 3],
        "uplink_bytes": 100,
        "downlink_bytes": 10,
        "header_bytes": 20,
        "stages_ms": {"prepare": 1.234},
        "reason": "because",
        "error": None,
    }
    assert line == expected


def test_late_is_beyond_five_milliseconds_and_the_timer_s_own_lateness() -> None:
    def late(late_s: float, timer_late_s: float) -> bool:
        line = answer_line(
            delivered(late_s=late_s, timer_late_s=timer_late_s), FRAME, Answer([1], 1, None, None)
        )
        return bool(line["late"])

    assert not late(0.0049, 0.0)
    assert late(0.0051, 0.0)
    assert not late(0.0149, 0.01)
    assert late(0.0151, 0.01)


def test_the_summary_counts_by_plan_and_by_who_answered() -> None:
    summary = Summary()
    summary.frames = 5
    summary.connects = 3
    for latency_s in (0.1, 0.2, 0.3):
        summary.add(delivered(latency_s=latency_s), Answer([1], 0.9, 1.0, None))
    summary.add(delivered("exit", late_s=0.1), Answer([1], 0.9, 0.5, None))
    summary.add(delivered(error="no"), Answer(None, None, None, "no"))
    found = summary.to_json({"dropped_frames": 2, "admitted": 5})
    assert found["answers"] == 5
    assert found["answered_by"] == {"cloud": 3, "error": 1, "exit": 1}
    assert (found["failed"], summary.failed, found["late"]) == (1, 1, 1)
    assert found["accuracy"] == 0.875
    assert (found["dropped_frames"], found["reconnects"], found["frames"]) == (2, 2, 5)
    assert (found["uplink_bytes"], found["header_bytes"]) == (500, 100)
    cloud = found["plans"][0]
    assert (cloud["plan"], cloud["answered_by"], cloud["answers"]) == ("c1@1+exits", "cloud", 3)
    assert cloud["latency_ms"] == {"p50": 200.0, "p95": 300.0}


def test_the_kernel_s_figures_of_the_last_connection() -> None:
    summary = Summary()
    summary.link = TcpInfo(0.0123456, 0.01, 3, 4096, 1e6, app_limited=True)
    assert summary.to_json({})["link"] == {
        "rtt_ms": 12.346,
        "min_rtt_ms": 10.0,
        "retransmits": 3,
        "unsent_bytes": 4096,
        "delivery_bps": 1e6,
        "app_limited": True,
    }


def test_an_empty_summary() -> None:
    found = Summary().to_json({})
    assert found["link"] is None
    assert (found["answers"], found["accuracy"], found["plans"]) == (0, None, [])
    assert found["latency_ms"] == {"p50": None, "p95": None}
