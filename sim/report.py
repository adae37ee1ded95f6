"""What is to be said of a simulation: the summary of an edge process, overall and by phase.

Keys and units are those of the summary that ``splitnet edge run`` ends with, so that a simulated
run and a real one can be laid side by side.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from splitnet.machines.tally import Tally
from splitnet.sim.agent import Answer, Drop
from splitnet.sim.scenario import agent_names
from splitnet.sim.simulation import Outcome

Part: TypeAlias = tuple[list[Answer], list[Drop]]
"""What became of some of the frames."""


def summarise(outcome: Outcome) -> dict[str, Any]:
    """Return everything that ``splitnet sim run --json`` prints; times are in milliseconds."""
    scenario = outcome.scenario
    answers, drops = outcome.answers, outcome.drops
    return {
        "scenario": scenario.name,
        "seed": outcome.seed,
        "simulated_s": round(outcome.ended_s, 6),
        "frames": outcome.frames,
        **_summary(answers, drops),
        "unanswered": outcome.frames - len(answers) - len(drops),
        "reconnects": outcome.reconnects,
        "phases": [
            {"phase": phase.name, "start_s": phase.start_s, **_summary(*parts)}
            for phase, parts in zip(scenario.phases, _by_phase(outcome), strict=True)
        ],
        "agents": [
            {"agent": agent.name, "copies": agent.copies, **_summary(*parts)}
            for agent, parts in zip(scenario.agents, _by_agent(outcome), strict=True)
        ],
        "counters": dict(sorted(outcome.counters.items())),
        "worker_counters": dict(sorted(outcome.worker_counters.items())),
        "remarks": list(outcome.remarks),
        "answers_sha256": replay_hash(answers),
    }


def replay_hash(answers: Iterable[Answer]) -> str:
    """Return a hash over every answer with its times: equal hashes are equal runs."""
    digest = hashlib.sha256()
    for answer in answers:
        digest.update(repr(answer).encode())
    return digest.hexdigest()


def problems(outcome: Outcome) -> list[str]:
    """Return how the promise was broken: one answer for every frame that was not dropped."""
    found = []
    counts = Counter((answer.agent, answer.delivered.frame) for answer in outcome.answers)
    twice = sorted(key for key, count in counts.items() if count > 1)
    missing = outcome.frames - len(counts) - len(outcome.drops)
    if twice:
        found.append(f"answered more than once: {twice[:10]}")
    if missing:
        found.append(f"{missing} of {outcome.frames} frames were neither answered nor dropped")
    return found


def _by_phase(outcome: Outcome) -> list[Part]:
    """Return answers and drops of each phase; a frame belongs to the phase in which it arrived."""
    starts_s = [phase.start_s for phase in outcome.scenario.phases]
    return _parts(outcome, len(starts_s), lambda end: bisect_right(starts_s, end.arrived_s) - 1)


def _by_agent(outcome: Outcome) -> list[Part]:
    """Return answers and drops of each table of agents, all copies together."""
    agents = outcome.scenario.agents
    table = {name: number for number, agent in enumerate(agents) for name in agent_names(agent)}
    return _parts(outcome, len(agents), lambda end: table[end.agent])


def _parts(outcome: Outcome, count: int, place: Callable[[Answer | Drop], int]) -> list[Part]:
    parts: list[Part] = [([], []) for _ in range(count)]
    for answer in outcome.answers:
        parts[place(answer)][0].append(answer)
    for drop in outcome.drops:
        parts[place(drop)][1].append(drop)
    return parts


def _summary(answers: Sequence[Answer], drops: Sequence[Drop]) -> dict[str, Any]:
    tally = Tally()
    for answer in answers:
        score = None if answer.found is None else answer.found.score
        tally.add(answer.delivered, score, answer.delivered.error)
    return {**tally.to_json(), "dropped_frames": len(drops)}
