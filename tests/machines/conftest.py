"""Agent and worker machines on one virtual clock, with a device and a link between them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeAlias

import pytest

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.machines.agent import AgentConfig, AgentMachine
from splitnet.machines.agent_io import (
    AgentEvent,
    CloseLink,
    Deliver,
    Drain,
    DropFrame,
    Encode,
    Encoded,
    Finished,
    FrameArrived,
    LinkDown,
    LinkUp,
    LocalResult,
    OpenLink,
    Received,
    Release,
    Report,
    RunExit,
    RunSegments,
    RunStages,
    Send,
    StagesDone,
    Tick,
)
from splitnet.machines.stage_times import StageTimes
from splitnet.machines.worker import WorkerConfig, WorkerMachine
from splitnet.machines.worker_io import (
    BatchDone,
    ItemResult,
    PeerGone,
    PeerMessage,
    RunBatch,
    SendTo,
    WorkerEvent,
    WorkerTick,
)
from splitnet.policies.making import make_policy
from splitnet.wire import Hollow, Infer, InferFlag, Message, Reply, size
from tests.refined_bundle import REFINED_LEVEL

REFINED_BYTES = (800, 6000, 6000)
"""Bytes of the refinements of a payload of the bundle `refined`."""

PAYLOAD_BYTES = {("input", 0): 4096, ("c1", 0): 8192, ("c2", 0): 4096, ("bottleneck", 0): 1024}
Doing: TypeAlias = Callable[[], None]


@dataclass
class World:
    """One agent, one worker, one device, one link; everything happens in virtual time.

    `confidence(frame)` is what the exit says, `absence(frame)` what the prefilter says, `sure` what
    a partial reply says; `batch_s` the worker's time for a batch; a message takes `delay_s` plus
    its size over `rate_bps`. Without `link_up` nothing passes, with `old_worker` no request for
    partial replies.
    """

    bundle: Bundle
    policy: str = "fixed:plan=c1@1"
    config: AgentConfig = field(default_factory=AgentConfig)
    worker_config: WorkerConfig = field(default_factory=WorkerConfig)
    confidence: Callable[[int], float] = lambda frame: 0.1
    absence: Callable[[int], float] = lambda frame: 0.1
    sure: Callable[[Reply], float | None] = lambda reply: 0.1
    batch_s: float = 0.004
    delay_s: float = 0.005
    rate_bps: float = 50e6
    stage_factor: Callable[[int], float] = lambda job: 1.0
    reply: Callable[[int], ItemResult] = lambda number: ItemResult(Hollow(40))
    now_s: float = 0.0
    link_up: bool = True
    old_worker: bool = False
    delivered: list[Deliver] = field(default_factory=list)
    dropped: list[DropFrame] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    stages: list[object] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    arrived: list[Message] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    finished: bool = False

    def __post_init__(self) -> None:
        profile = self.bundle.advice.profiles[0]
        self.agent = AgentMachine(self.bundle, profile, make_policy(self.policy), self.config)
        self.times = StageTimes(profile)
        self._heap: list[tuple[float, int, Doing]] = []
        self._order = count()
        self._connection = 0
        self._lanes: dict[str, float] = {}
        self.start_worker(epoch=1)

    def start_worker(self, epoch: int) -> None:
        self.worker = WorkerMachine({0: self.bundle.contract}, self.worker_config, epoch)

    def at(self, time_s: float, do: Doing) -> None:
        heapq.heappush(self._heap, (time_s, next(self._order), do))

    def frames(self, number: int, every_s: float, start_s: float = 0.1) -> None:
        for frame in range(number):
            time_s = start_s + frame * every_s
            self.at(time_s, lambda f=frame, t=time_s: self.tell(FrameArrived(f, t)))  # type: ignore[misc]

    def run(self, until_s: float) -> None:
        """Let everything happen that happens before `until_s`."""
        for _ in range(20_000):
            wakeups = [(self.agent.wakeup_s, self._tick_agent), (self.worker.wakeup_s, self._tick)]
            due = [(time_s, do) for time_s, do in wakeups if time_s is not None]
            time_s, do = min(due, key=lambda item: item[0], default=(until_s + 1, lambda: None))
            queued = bool(self._heap) and self._heap[0][0] <= time_s
            if queued:
                time_s, _, do = self._heap[0]
            if time_s > until_s:
                self.now_s = until_s
                return
            if queued:
                heapq.heappop(self._heap)
            self.now_s = max(self.now_s, time_s)
            do()
        raise AssertionError(
            f"the machines spin at {self.now_s}: agent {self.agent.wakeup_s}, "
            f"worker {self.worker.wakeup_s}, link {self.agent.link_ready}"
        )

    def cut(self, reason: str = "connection lost") -> None:
        """Break the connection: nothing under way arrives any more."""
        self._connection += 1
        self.tell(LinkDown(reason))

    def drain(self) -> None:
        self.tell(Drain())

    def tell(self, event: AgentEvent) -> None:
        for action in self.agent.handle(event, self.now_s):
            if isinstance(action, RunStages):
                self._run_stage(action)
            elif isinstance(action, Send):
                self._to_worker(action.message)
            elif isinstance(action, OpenLink):
                self._open()
            elif isinstance(action, CloseLink):
                self._connection += 1
            elif isinstance(action, Deliver):
                self.delivered.append(action)
            elif isinstance(action, DropFrame):
                self.dropped.append(action)
            elif isinstance(action, Report):
                self.reports.append(f"{action.event} {action.detail}")
            elif isinstance(action, Release):
                self.released.append(action.request)
            elif isinstance(action, Finished):
                self.finished = True

    def tell_worker(self, event: WorkerEvent) -> None:
        worker = self.worker
        for action in worker.handle(event, self.now_s):
            if isinstance(action, SendTo):
                self._to_agent(action)
            elif isinstance(action, RunBatch):
                results = tuple(self.reply(i) for i in range(len(action.items)))
                done = BatchDone(action.batch, 0.0, self.batch_s, results)
                self.at(
                    self.now_s + self.batch_s,
                    lambda d=done: self.tell_worker(d) if self.worker is worker else None,  # type: ignore[misc]
                )

    def _tick_agent(self) -> None:
        self.tell(Tick())

    def _tick(self) -> None:
        self.tell_worker(WorkerTick())

    def _run_stage(self, action: RunStages) -> None:
        stage = action.stages[-1]
        self.stages += action.stages
        factor = self.stage_factor(action.job)
        durations_s = tuple(self.times.p50_s(stage) * factor for stage in action.stages)
        outcome: LocalResult | Encoded | None = None
        if isinstance(stage, RunExit):
            says = self.confidence if stage.answers else self.absence
            outcome = LocalResult(says(action.frame), stage.exit)
        elif isinstance(stage, RunSegments) and stage.stop == len(self.bundle.contract.segments):
            outcome = LocalResult(0.9, "end")
        elif isinstance(stage, Encode):
            outcome = _encoded(stage)
        done = StagesDone(action.job, durations_s, outcome)
        self.at(self.now_s + sum(durations_s), lambda: self.tell(done))

    def _open(self) -> None:
        self._connection += 1
        connection = self._connection

        def established() -> None:
            if connection == self._connection:
                self.tell(LinkUp() if self.link_up else LinkDown("refused"))

        self.at(self.now_s + self.delay_s, established)

    def _arrives_s(self, lane: str, message: Message) -> float:
        """Each direction is a queue: messages neither overtake nor share the rate."""
        start_s = max(self.now_s, self._lanes.get(lane, 0.0))
        self._lanes[lane] = start_s + 8 * size(message) / self.rate_bps
        return self._lanes[lane] + self.delay_s

    def _to_worker(self, message: Message) -> None:
        self.sent.append(message)
        connection, peer = self._connection, b"%d" % self._connection

        def arrive() -> None:
            if connection == self._connection and self.link_up:
                self.arrived.append(message)
                self.tell_worker(PeerMessage(peer, self._as_understood(message)))

        self.at(self._arrives_s("up", message), arrive)

    def _as_understood(self, message: Message) -> Message:
        if self.old_worker and isinstance(message, Infer):
            return replace(message, flags=message.flags & ~InferFlag.WANT_PARTIALS)
        return message

    def _to_agent(self, action: SendTo) -> None:
        def arrive() -> None:
            if action.peer == b"%d" % self._connection and self.link_up:
                message = action.message
                if isinstance(message, Reply) and not message.final:
                    self.tell(Received(message, self.sure(message)))
                else:
                    self.tell(Received(message))

        if action.peer == b"%d" % self._connection:
            self.at(self._arrives_s("down", action.message), arrive)
        else:
            self.at(self.now_s, lambda: self.tell_worker(PeerGone(action.peer)))

    def balance(self) -> None:
        """Check that nothing is left at the worker, and that both sides count alike."""
        for session in self.worker._sessions:
            assert not (session.assembling or session.open_requests)
            assert session.released_bytes == session.received_bytes
            assert session.released_requests == session.received_requests
            uplink = self.agent._link.uplink
            if uplink is not None and uplink.session == session.id:
                assert uplink._used_bytes == session.received_bytes
                assert uplink._used_requests == session.received_requests
                assert not (uplink._outbox or uplink._held)

    # --- what tests ask -------------------------------------------------------------------------

    def by(self) -> dict[str, int]:
        shares: dict[str, int] = {}
        for answer in self.delivered:
            by = answer.provenance.answered_by
            shares[by] = shares.get(by, 0) + 1
        return shares

    def answered_frames(self) -> list[int]:
        return sorted(answer.frame for answer in self.delivered)

    def refusals(self, code: WireCode) -> int:
        return self.agent.counters[f"refused_{code.name.lower()}"]


def _encoded(stage: Encode) -> Encoded:
    if stage.level == REFINED_LEVEL:
        base, *refinements = map(Hollow, REFINED_BYTES)
        return Encoded(base, (), tuple(refinements))
    return Encoded(Hollow(PAYLOAD_BYTES[stage.path, 0] // (4 if stage.level else 1)))


MakeWorld: TypeAlias = Callable[..., World]


@pytest.fixture
def world(sample_bundle: Bundle) -> MakeWorld:
    """Return a function that makes a `World` over the sample bundle."""

    def make(**options: object) -> World:
        return World(sample_bundle, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def alike(sample_bundle: Bundle) -> Bundle:
    """The sample bundle with exact paths that answer alike at each level, as real ones do."""
    table = sample_bundle.table
    paths = {
        (path, level): rows
        if path == "bottleneck"
        else rows._replace(
            score=table.paths["input", level].score,
            confidence=table.paths["input", level].confidence,
        )
        for (path, level), rows in table.paths.items()
    }
    return replace(sample_bundle, table=replace(table, paths=paths))


@pytest.fixture
def refined_world(refined: Bundle) -> MakeWorld:
    """Return a function that makes a `World` over a bundle with refinements."""

    def make(**options: object) -> World:
        return World(refined, **options)  # type: ignore[arg-type]

    return make
