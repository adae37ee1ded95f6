"""What a reply of the worker means to its request: the answer, a step on the way to it, or nothing.

A plan with stops asks for partial replies. One that is sure enough is the answer, so that nothing
more of the request is sent.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from splitnet.machines.request import Request
from splitnet.values import Plan
from splitnet.wire import Reply, checksum


class Verdict(Enum):
    """What a reply means; the value of those that mean nothing is the name of their counter."""

    LATE = "late_replies"
    UNASKED = "unasked_replies"
    DAMAGED = "damaged_replies"
    FINAL = "final"
    SURE = "sure"
    UNSURE = "unsure"


def judge(reply: Reply, confidence: float | None, request: Request | None) -> Verdict:
    """Return what `reply` means to `request`, ``None`` if that has ended.

    `confidence` is that of the answer in a reply that is not final, ``None`` if it is unreadable.
    """
    if request is None or not request.sent:
        return Verdict.LATE
    if not reply.final and not _is_asked_for(reply, request):
        return Verdict.UNASKED
    if checksum(reply.payload) != reply.checksum or not request.has_parts(reply.refinements):
        return Verdict.DAMAGED
    if reply.final:
        return Verdict.FINAL
    if confidence is None:
        return Verdict.DAMAGED
    plan = request.decision.option.plan
    return Verdict.SURE if is_sure(plan, reply.refinements, confidence) else Verdict.UNSURE


def is_sure(plan: Plan, refinements: int, confidence: float) -> bool:
    """Return whether `plan` takes an answer to so many refinements.

    Confidences are compared as the sample table holds them; behind the last stop any is enough.
    """
    if refinements > len(plan.stops):
        return True
    return bool(np.float32(confidence) >= np.float32(plan.stops[refinements - 1]))


def _is_asked_for(reply: Reply, request: Request) -> bool:
    """Return whether a partial reply says more than the one before, of a plan with stops."""
    before = 0 if request.provisional is None else request.provisional.refinements
    return request.one_by_one and reply.refinements > before
