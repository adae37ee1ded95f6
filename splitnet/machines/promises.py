"""The anytime guarantee as arithmetic: no work starts that would break a promise.

Every live request without a local answer is a promise: `cost_s` of device time (its way to the
first exit) must be done by `due_s`. The device runs one stage at a time and cannot be interrupted,
so work may start only if all promises can still be kept afterwards, earliest due first. Earliest
due first keeps every promise whenever any order does (Liu and Layland, JACM 1973, section 7).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import NamedTuple


class Promise(NamedTuple):
    """`cost_s` of device time that request `request` needs before `due_s`."""

    due_s: float
    request: int
    cost_s: float


def slack_s(promises: Iterable[Promise], now_s: float) -> float:
    """Return how long the device may do other work before the promises must be worked on.

    Negative if some promise cannot be kept any more, infinite if there is none.
    """
    slack, work_s = inf, 0.0
    for due_s, _, cost_s in sorted(promises):
        work_s += cost_s
        slack = min(slack, due_s - work_s - now_s)
    return slack
