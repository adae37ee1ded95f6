"""The anytime guarantee as arithmetic: no work starts that would break a promise.

Every live request without a local answer is a promise: `cost_s` of device time (its way to the
first exit) must be done by `due_s`. The device runs one stage at a time and cannot be interrupted,
so work may start only if all promises can still be kept afterwards, earliest due first. Earliest
due first keeps every promise whenever any order does (Liu and Layland, JACM 1973, section 7).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Promise:
    """`cost_s` of device time that request `request` needs before `due_s`."""

    request: int
    due_s: float
    cost_s: float


def slack_s(promises: Iterable[Promise], now_s: float) -> float:
    """Return how long the device may do other work before the promises must be worked on.

    Negative if some promise cannot be kept any more, infinite if there is none.
    """
    slack, work_s = inf, 0.0
    for promise in sorted(promises, key=lambda promise: promise.due_s):
        work_s += promise.cost_s
        slack = min(slack, promise.due_s - work_s - now_s)
    return slack


def most_urgent(promises: Iterable[Promise]) -> Promise | None:
    """Return the promise that is due first."""
    return min(promises, key=lambda promise: promise.due_s, default=None)
