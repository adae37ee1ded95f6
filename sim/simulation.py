"""Agents, a worker and links in virtual time, from the first frame to the last answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

from splitnet.bundle import Bundle
from splitnet.errors import ConfigError
from splitnet.machines.agent import AgentMachine
from splitnet.machines.fitting import fitted
from splitnet.policies.making import make_policy
from splitnet.sim.agent import Answer, Drop, Happening, SimulatedAgent
from splitnet.sim.connection import Connection
from splitnet.sim.device import SimulatedDevice
from splitnet.sim.kernel import CHANGE, Kernel
from splitnet.sim.link import Link, Pipe
from splitnet.sim.phased_link import open_phases
from splitnet.sim.rows import SampleRows
from splitnet.sim.scenario import AgentSettings, Scenario, Source, agent_names
from splitnet.sim.stage_clock import simulated_profile
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
    link, remarks
        The link of the first agent, and what is odd about its traces.
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
    link: Link = field(compare=False)
    remarks: tuple[str, ...]


class Simulation:
    """One run of a scenario; the same scenario, bundle and seed give the same outcome.

    Raises
    ------
    ConfigError
        The scenario asks for what the bundle does not have, or a trace cannot be read.
    """

    def __init__(self, bundle: Bundle, scenario: Scenario, seed: int | None = None) -> None:
        self._bundle = bundle
        self._scenario = scenario
        self._seed = scenario.seed if seed is None else seed
        self._kernel = Kernel()
        self._rows = SampleRows(bundle)
        self._worker = SimulatedWorker(
            self._kernel, bundle, scenario.worker, Random(f"{self._seed}/worker")
        )
        self._answers: list[Answer] = []
        self._drops: list[Drop] = []
        self._agents: list[SimulatedAgent] = []
        self._link, self._remarks = open_phases(scenario.link, scenario.phases, self._seed)
        for settings in scenario.agents:
            for name, source in zip(agent_names(settings), _sources(settings), strict=True):
                self._add_agent(settings, name, source)
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
        kernel.run(_last_due_s(self._scenario) + PATIENCE_S)
        counters: Counter[str] = Counter()
        for agent in self._agents:
            counters.update(agent.machine.counters)
        return Outcome(
            scenario=self._scenario,
            seed=self._seed,
            answers=tuple(self._answers),
            drops=tuple(self._drops),
            frames=sum(agent.frames for agent in self._agents),
            reconnects=sum(max(0, agent.connects - 1) for agent in self._agents),
            counters=counters,
            worker_counters=worker.counters,
            ended_s=kernel.now_s,
            link=self._link,
            remarks=self._remarks,
        )

    def _add_agent(self, settings: AgentSettings, name: str, source: Source) -> None:
        """Make an agent with a device and a link of its own."""
        kernel, seed = self._kernel, f"{self._seed}/{name}"
        profile = simulated_profile(self._bundle.advice.profiles, settings)
        link_config = replace(
            settings.bounds.link, device=name, seed=Random(f"{seed}/link").getrandbits(32)
        )
        policy = make_policy(settings.policy)
        machine = AgentMachine(
            fitted(self._bundle, policy, profile),
            profile,
            policy,
            replace(settings.bounds, link=link_config),
        )
        _check_deadline(machine, name, settings.bounds.deadline_s)
        number = len(self._agents)
        link, _ = open_phases(self._scenario.link, self._scenario.phases, self._seed + number)
        up, down = Pipe(link.up), Pipe(link.down)
        attempts = count(1)

        def connect(agent: SimulatedAgent) -> Connection:
            peer = f"{name}/{next(attempts)}".encode()
            return Connection(kernel, up, down, agent, self._worker, peer, settings.hop_s)

        device = SimulatedDevice(self._rows, profile, settings, seed)
        agent = SimulatedAgent(kernel, name, machine, device, source, connect, self._record)
        for reset_s in link.resets_s:
            kernel.at(reset_s, agent.reset_link, priority=CHANGE)
        self._agents.append(agent)

    def _record(self, happening: Happening) -> None:
        if isinstance(happening, Answer):
            self._answers.append(happening)
        elif isinstance(happening, Drop):
            self._drops.append(happening)
        else:
            self._running -= 1
            if not self._running:
                self._kernel.stop()


def _sources(settings: AgentSettings) -> Iterator[Source]:
    """Yield the source of each copy of an agent, evenly out of step."""
    source = settings.source
    for copy in range(settings.copies):
        offset_s = copy / (settings.copies * source.rate_hz)
        yield replace(source, start_s=source.start_s + offset_s)


def _last_due_s(scenario: Scenario) -> float:
    """Return when the last frame of any agent is due at the latest."""
    due_s = []
    for settings in scenario.agents:
        source, bounds = settings.source, settings.bounds
        patience_s = bounds.expiry_s if bounds.deadline_s is None else bounds.deadline_s
        due_s.append(source.start_s + (source.frames + 1) / source.rate_hz + patience_s)
    return max(due_s)


def _check_deadline(machine: AgentMachine, name: str, deadline_s: float | None) -> None:
    first_s = machine.first_answer_s
    if deadline_s is not None and deadline_s < first_s:
        raise ConfigError(
            f"{name}: the deadline of {deadline_s:g} s is shorter than the first answer of the "
            f"device takes ({first_s:.4f} s, 95th percentile): give it more time, a lower factor, "
            "or a bundle with an earlier exit"
        )
