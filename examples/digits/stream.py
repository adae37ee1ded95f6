"""The answers to one stream of pages, and when each page arrived."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeAlias

from examples.digits.road import Phase
from splitnet.processes import EdgeProcess

Answer: TypeAlias = dict[str, Any]
"""What the edge process prints for a page (splitnet.edge.reporting)."""

REPORT_EVERY = 50
"""Answers."""


@dataclass(slots=True)
class Stream:
    """A live source of `pages` pages at `rate_hz`, each with a deadline, and its answers.

    It begins when it is made.

    Attributes
    ----------
    phases
        Of the link.
    began_s
        When the stream began, on `time.monotonic`.
    first_s
        How long after that page 0 arrived. The edge process does not tell; it is the earliest time
        that an answer allows: read now, so and so long after its page arrived.
    exit_code
        Of the edge process.
    """

    name: str
    pages: int
    rate_hz: float
    deadline_s: float
    phases: tuple[Phase, ...] = ()
    began_s: float = field(default_factory=time.monotonic)
    first_s: float = inf
    answers: list[Answer] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def now_s(self) -> float:
        """How long ago the stream began."""
        return time.monotonic() - self.began_s

    def read(self, edge: EdgeProcess, report: Callable[[], None] | None = None) -> None:
        """Take the answers of the edge process and its summary; call `report` now and then."""
        for answer in edge.answers():
            after_s = answer["latency_ms"] / 1000 + answer["frame"] / self.rate_hz
            self.first_s = min(self.first_s, self.now_s - after_s)
            self.answers.append(answer)
            if report is not None and len(self.answers) % REPORT_EVERY == 0:
                report()
        self.summary = edge.summary

    def arrived_s(self, answer: Answer) -> float:
        """Return when the page of an answer arrived, after the stream began."""
        return float(self.first_s + answer["frame"] / self.rate_hz)

    def between(self, start_s: float, end_s: float) -> list[Answer]:
        """Return the answers to the pages that arrived in this time, in the order of the pages."""
        chosen = [a for a in self.answers if start_s <= self.arrived_s(a) < end_s]
        return sorted(chosen, key=lambda answer: int(answer["frame"]))


def where(answer: Answer) -> str:
    """Return where the plan of an answer leads: to a path of the bundle, or `device`."""
    return str(answer["plan"]).partition("@")[0].partition(":")[0]
