"""When the agent pings and probes, and what it learns from the answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from splitnet.machines.probing import (
    BURST_S,
    IN_USE_S,
    MAX_PROBE_BYTES,
    MEASURE_S,
    SMALL_PROBE_BYTES,
    Prober,
)
from splitnet.machines.uplink import Uplink, stamp
from splitnet.policies.estimators import LinkEstimator
from splitnet.values import Load
from splitnet.wire import Ping, Pong, Probe, Welcome

HEARTBEAT_S = 1.0
BUDGET = 8000.0


def uplink() -> Uplink:
    welcome = Welcome(
        session=1,
        epoch=1,
        handles=((1, 0),),
        missing_tables=(),
        max_request_bytes=1 << 20,
        max_chunk_bytes=1 << 18,
        credit_requests=8,
        credit_bytes=1 << 20,
        heartbeat_ms=1000,
    )
    return Uplink(welcome, 1 << 18)


@dataclass
class Road:
    """A link of a round trip and a rate, which answers every ping and probe in order."""

    rtt_s: float
    rate_bps: float
    dead: bool = False
    budget_bytes_per_s: float = BUDGET
    now_s: float = 0.0
    sent: list[tuple[float, Ping | Probe]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.estimate = LinkEstimator()
        self.prober = Prober(
            self.estimate, uplink(), self.budget_bytes_per_s, HEARTBEAT_S, self.now_s
        )
        self._answers: list[tuple[float, Pong]] = []

    def run(self, until_s: float, *, in_use: bool = True) -> None:
        """Let time pass; with `in_use` a request comes every 50 ms."""
        next_use_s = self.now_s
        while True:
            times = [self.prober.due_s, *(due_s for due_s, _ in self._answers[:1])]
            times += [next_use_s] if in_use else []
            if min(times) > until_s:
                self.now_s = until_s
                return
            self.now_s = max(self.now_s, min(times))
            if in_use and self.now_s >= next_use_s:
                self.prober.use(self.now_s)
                next_use_s += 0.05
            self._send(self.prober.ping(self.now_s))
            while self._answers and self._answers[0][0] <= self.now_s:
                self._send(self.prober.on_pong(self._answers.pop(0)[1], self.now_s))

    def _send(self, messages: list[Ping] | list[Probe]) -> None:
        for message in messages:
            self.sent.append((self.now_s, message))
            nbytes = len(message.payload) if isinstance(message, Probe) else 0
            if not self.dead:
                due_s = self.now_s + self.rtt_s + 8 * nbytes / self.rate_bps
                pong = Pong(message.number, stamp(self.now_s), Load(0, 0, 0))
                self._answers.append((due_s, pong))

    def sent_since(self, time_s: float, kind: type[Ping] | type[Probe]) -> list[Ping | Probe]:
        """Return what of a kind was sent since `time_s`."""
        return [m for sent_s, m in self.sent if sent_s >= time_s and isinstance(m, kind)]


def test_without_requests_only_heartbeats_are_sent() -> None:
    road = Road(0.02, 1e6)
    road.run(10.0, in_use=False)
    assert len(road.sent_since(0.0, Ping)) == 11
    assert not road.sent_since(0.0, Probe)


def test_requests_bring_pings_and_their_end_ends_them() -> None:
    road = Road(0.02, 1e6)
    road.run(3.0)
    assert len(road.sent_since(2.0, Ping)) == pytest.approx(1 / MEASURE_S, abs=1)
    road.run(3.0 + IN_USE_S + MEASURE_S, in_use=False)
    road.run(20.0, in_use=False)
    assert len(road.sent_since(10.0, Ping)) == 10
    assert not road.sent_since(10.0, Probe)


@pytest.mark.parametrize(("before_bps", "after_bps"), [(0.4e6, 20e6), (20e6, 0.4e6), (1e6, 8e6)])
def test_a_step_of_the_rate_is_learned_within_half_a_second(
    before_bps: float, after_bps: float
) -> None:
    road = Road(0.04, before_bps)
    road.run(5.0)
    assert road.estimate.goodput_bps == pytest.approx(before_bps, rel=0.3)
    road.rate_bps = after_bps
    road.run(5.5)
    assert road.estimate.goodput_bps == pytest.approx(after_bps, rel=0.3)


def test_a_step_of_the_round_trip_is_learned_within_half_a_second() -> None:
    road = Road(0.02, 1e6)
    road.run(5.0)
    road.rtt_s = 0.08
    road.run(5.5)
    assert road.estimate.rtt_s == pytest.approx(0.08, abs=0.001)


@pytest.mark.parametrize("rate_bps", [0.1e6, 1e6, 50e6])
def test_probes_keep_to_their_budget(rate_bps: float) -> None:
    road = Road(0.02, rate_bps)
    for second in range(1, 60):
        road.rate_bps = rate_bps * (1 if second % 2 else 10)  # a surprise every second
        road.run(float(second))
    probes = road.sent_since(0.0, Probe)
    sizes = [len(probe.payload) for probe in probes if isinstance(probe, Probe)]
    assert 0 < sum(sizes) <= BUDGET * (60 + BURST_S)
    assert max(sizes) <= MAX_PROBE_BYTES


def test_on_a_steady_link_probes_stay_small() -> None:
    road = Road(0.02, 20e6)
    road.run(2.0)
    road.run(10.0)
    late = [m for m in road.sent_since(2.0, Probe) if isinstance(m, Probe)]
    assert late and max(len(probe.payload) for probe in late) <= SMALL_PROBE_BYTES


def test_a_budget_of_zero_sends_no_probe() -> None:
    road = Road(0.02, 1e6, budget_bytes_per_s=0.0)
    road.run(5.0)
    assert not road.sent_since(0.0, Probe)
    assert road.estimate.rtt_s == pytest.approx(0.02, abs=1e-4)


def test_a_ping_without_an_answer_is_overdue_and_stops_the_measuring() -> None:
    road = Road(0.02, 1e6)
    road.run(2.0)
    road.dead = True
    road.run(4.0)
    assert road.prober.overdue_s(4.0) > 1.7
    assert len(road.sent_since(2.0, Ping)) <= 3


def test_a_pong_that_nobody_asked_for_is_ignored() -> None:
    road = Road(0.02, 1e6)
    road.run(1.0)
    assert road.prober.on_pong(Pong(999, 0, Load(0, 0, 0)), 1.0) == []
    assert road.estimate.rtt_s == pytest.approx(0.02, abs=1e-4)
