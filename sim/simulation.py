"""Agents, a worker and links in virtual time, from the first frame to the last answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from splitnet.bundle import Bundle
from splitnet.errors import ConfigError
from splitnet.sim.agent import Answer, Drop, SimulatedAgent
from splitnet.sim.connection import Connection
from splitnet.sim.kernel import CHANGE, Kernel
from splitnet.sim.link import Link, Pipe
from splitnet.sim.rows import SampleRows
from splitnet.sim.scenario import AgentSettings, Scenario
from splitnet.sim.worker import SimulatedWorker

PATIENCE_S = 60.0
"""Time beyond the last deadline after which a simulation ends even if frames are unanswered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened.

    Attributes
    ----------
    answers, drops
        In the order of time, over all agents.
    frames
        Frames that arrived.
    counters, worker_counters
        What the machines counted, summed over agents and over the worker's lives.
    ended_s
        When the last agent was done.
    """

    scenario: Scenario
    seed: int
    answers: tuple[Answer, ...]
    drops: tuple[Drop, ...]
    frames: int
    reconnects: int
    counters: Counter[str]
    worker_counters: Counter[str]
    ended_s: float


class Simulation:
    """One run of a scenario; the same scenario, bundle and seed give the same outcome.

    Raises
    ------
    ConfigError
        The scenario asks for what the bundle does not have.
    """

    def __init__(self, bundle: Bundle, scenario: Scenario, seed: int | None = None) -> None:
        if not bundle.advice.profiles:
            raise ConfigError("the bundle has no profile, which stage times are drawn from")
        self._scenario = scenario
        self._seed = scenario.seed if seed is None else seed
        self._kernel = Kernel()
        self._answers: list[Answer] = []
        self._drops: list[Drop] = []
        random = Random(f"{self._seed}/worker")
        self._worker = SimulatedWorker(self._kernel, bundle, scenario.worker, random)
        rows = SampleRows(bundle)
        self._agents = [
            self._agent(bundle, rows, settings, copy)
            for settings in scenario.agents
            for copy in range(settings.copies)
        ]
        self._running = len(self._agents)

    def run(self) -> Outcome:
        """Let it all happen and return what did."""
        kernel, worker = self._kernel, self._worker
        worker.start()
        for restart in self._scenario.worker.restarts:
            kernel.at(restart.at_s, worker.stop, priority=CHANGE)
            kernel.at(restart.at_s + restart.down_s, worker.start, priority=CHANGE)
        for agent in self._agents:
            agent.start()
        kernel.run(max(agent.last_due_s for agent in self._agents) + PATIENCE_S)
        return Outcome(
            scenario=self._scenario,
            seed=self._seed,
            answers=tuple(self._answers),
            drops=tuple(self._drops),
            frames=sum(agent.frames for agent in self._agents),
            reconnects=sum(max(0, agent.connects - 1) for agent in self._agents),
            counters=_sum(agent.counters for agent in self._agents),
            worker_counters=worker.counters,
            ended_s=kernel.now_s,
        )
