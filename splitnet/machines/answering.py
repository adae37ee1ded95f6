"""From a finished request to the answer that is handed over, with its provenance."""

from __future__ import annotations

from typing import Literal, TypeAlias

from splitnet.machines.agent_io import CloudResult, Deliver, LocalResult
from splitnet.machines.request import Request
from splitnet.values import SKIP, Outcome, Provenance

LATE_S = 0.005
"""Behind its deadline by more than this, timer lateness apart, an answer is late.

Source: the project's one definition of "late" (docs/design.md, "Deadlines").
"""

AnsweredBy: TypeAlias = Literal["cloud", "exit", "device", "skip"]


def make_answer(
    request: Request,
    result: LocalResult | CloudResult | None,
    cloud_segments: tuple[int, int],
    reason: str,
    now_s: float,
    error: str | None = None,
) -> Deliver:
    """Return the one final answer of a request.

    `cloud_segments` is what a worker runs on the path of the request's plan.
    """
    by_cloud = isinstance(result, CloudResult)
    exit_id = request.latest_exit if isinstance(result, LocalResult) else None
    answered_by: AnsweredBy = "cloud" if by_cloud else "exit" if exit_id else "device"
    if exit_id == SKIP:
        answered_by, exit_id = "skip", None
    sent = request.sent and request.encoded is not None
    provenance = Provenance(
        answered_by=answered_by,
        plan=request.decision.option.key,
        exit=exit_id,
        level=request.decision.option.plan.level if sent else None,
        device_segments=(0, max(request.boundary, 0)),
        cloud_segments=cloud_segments if by_cloud else None,
        uplink_bytes=request.uplink_bytes if sent else 0,
        downlink_bytes=request.downlink_bytes,
        header_bytes=request.header_bytes,
        stages_s=dict(request.stages_s),
        reason=reason,
        refinements=_refinements(request, result),
    )
    deadline_s = request.deadline_s
    return Deliver(
        request=request.id,
        frame=request.frame,
        result=result,
        provenance=provenance,
        latency_s=now_s - request.arrived_s,
        deadline_s=None if deadline_s is None else deadline_s - request.arrived_s,
        late_s=None if deadline_s is None else now_s - deadline_s,
        timer_late_s=request.timer_late_s,
        error=error,
    )


def _refinements(
    request: Request, result: LocalResult | CloudResult | None
) -> tuple[int, int] | None:
    """Return how many refinements an answer is made of, and of how many."""
    encoded = request.encoded
    if not isinstance(result, CloudResult) or encoded is None or not encoded.refinements:
        return None
    return result.refinements, len(encoded.parts)


def is_late(answer: Deliver) -> bool:
    """Return whether an answer is late by the project's one definition."""
    return answer.late_s is not None and answer.late_s > LATE_S + answer.timer_late_s


def outcome(answer: Deliver, request: Request) -> Outcome:
    """Return how the request ended, for the policy."""
    return Outcome(
        plan=answer.provenance.plan,
        answered_by=answer.provenance.answered_by,
        latency_s=answer.latency_s,
        predicted_s=request.decision.predicted_s,
        uplink_bytes=answer.provenance.uplink_bytes,
        late=is_late(answer),
    )
