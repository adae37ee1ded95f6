"""What the sample table says of a request, given what the exits have said of it.

An exit that is right for most samples is right far less often for those that did not leave there,
so expected accuracy and bytes come from the rows on which the exits said the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from splitnet.bundle import Bundle, ExitHead
from splitnet.bundle.sample_table import Mask
from splitnet.values import DEVICE, Plan

MIN_ROWS = 20
"""Fewer rows than this say too little; the whole table is used instead."""

Known: TypeAlias = tuple[tuple[str, bool], ...]
"""Exits already run, in order, and whether their threshold was reached."""


class Expected(NamedTuple):
    """Statistics of a plan over the rows that match what is known of a request."""

    accuracy: float
    uplink_bytes: int
    exit_share: float
    replies: float = 1.0


class Expectations:
    """The sample table, asked with what is known of a request."""

    def __init__(self, bundle: Bundle, exits: Mapping[str, ExitHead]) -> None:
        self._table = bundle.table
        self._exits = exits
        self._reference = next(p.id for p in bundle.contract.paths if p.kind == "exact")

    def of_plan(self, plan: Plan, known: Known) -> Expected:
        """Return what the matching rows say of `plan`, exits on its way included."""
        rows = self._rows(known)
        if plan.path == DEVICE:
            reference = Plan(self._reference, 0, plan.exits)
            mean = self._table.plan_statistics(reference, rows)
            return Expected(mean.accuracy, 0, mean.exit_share)
        mean = self._table.plan_statistics(plan, rows)
        sent_share = 1.0 - mean.exit_share
        sent_bytes = mean.bytes / sent_share if sent_share else mean.bytes
        return Expected(mean.accuracy, round(sent_bytes), mean.exit_share, mean.replies)

    def of_exit(self, exit_id: str, known: Known) -> float:
        """Return the accuracy of an exit on the matching rows."""
        return self._table.mean_exit_score(exit_id, self._rows(known))

    def _rows(self, known: Known) -> Mask | None:
        """Return the rows on which the exits said the same, ``None`` (all) if they are too few."""
        rows = np.ones(len(self._table), dtype=np.bool_)
        for exit_id, passed in known:
            rows &= self._table.exit_passed(exit_id, self._exits[exit_id].threshold) == passed
        return rows if rows.sum() >= MIN_ROWS else None
