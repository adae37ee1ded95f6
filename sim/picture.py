"""From the outcome of a simulation to the points of its plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from splitnet.sim.agent import Answer
from splitnet.sim.capacity import Capacity
from splitnet.sim.plotting import AnswerPoint, LinkPoint, Span, plot
from splitnet.sim.simulation import Outcome

LINK_POINTS = 400
"""Into how many intervals the link's rate is averaged for the plot."""


def draw(outcome: Outcome, file: Path) -> None:
    """Draw answers and link of a run into `file` (raises `ConfigError` if it cannot be written)."""
    scenario = outcome.scenario
    deadlines_s = {agent.bounds.deadline_s for agent in scenario.agents}
    ends_s = [*(phase.start_s for phase in scenario.phases[1:]), outcome.ended_s]
    plot(
        file,
        title=f"{scenario.name}, seed {outcome.seed}",
        answers=[_answer(answer) for answer in outcome.answers],
        link=_link(outcome.link.up.capacity, outcome.link.down.capacity, outcome.ended_s),
        spans=[
            Span(phase.name, phase.start_s, end_s, phase.dead)
            for phase, end_s in zip(scenario.phases, ends_s, strict=True)
            if phase.start_s < outcome.ended_s
        ],
        deadline_s=deadlines_s.pop() if len(deadlines_s) == 1 else None,
    )


def _answer(answer: Answer) -> AnswerPoint:
    delivered = answer.delivered
    origin = delivered.provenance
    return AnswerPoint(
        time_s=answer.arrived_s,
        answered_by="error" if delivered.error else origin.answered_by,
        plan=origin.plan,
        uplink_bytes=origin.uplink_bytes,
        latency_s=delivered.latency_s,
    )


def _link(up: Capacity, down: Capacity, until_s: float) -> Sequence[LinkPoint]:
    """Return the mean rates of both directions, interval by interval."""
    step_s = until_s / LINK_POINTS
    points = []
    for number in range(LINK_POINTS + 1):
        time_s = number * step_s
        rates_bps = [
            8 * (capacity.bytes_by(time_s + step_s) - capacity.bytes_by(time_s)) / step_s
            for capacity in (up, down)
        ]
        points.append(LinkPoint(time_s, *rates_bps))
    return points
