"""The profile: what is measured, and how often."""

from __future__ import annotations

import pytest

from splitnet.builder.build import BuildConfig
from splitnet.builder.profiling import (
    MIN_REPEATS,
    REPEATS,
    WARM_UP,
    machine_facts,
    measure,
    measure_ratio,
)
from splitnet.runtime.directory import open_bundle
from splitnet.values import (
    PREPARE_STAGE,
    decode_stage,
    encode_stage,
    exit_stage,
    fused_stage,
    segment_stage,
)


class _Clock:
    """A clock that only stages move."""

    def __init__(self, times_s: list[float]) -> None:
        self.now_s = 0.0
        self.calls = 0
        self._times_s = times_s

    def __call__(self) -> float:
        return self.now_s

    def stage(self) -> None:
        self.now_s += self._times_s[self.calls % len(self._times_s)]
        self.calls += 1


def test_median_and_95th_percentile_after_a_warm_up() -> None:
    clock = _Clock([9.0] * WARM_UP + [0.0001 * i for i in range(1, REPEATS + 1)])
    found = measure(clock.stage, clock)
    assert clock.calls == WARM_UP + REPEATS
    assert abs(found.p50_s - 0.00255) < 1e-9 and abs(found.p95_s - 0.004755) < 1e-9


def test_a_slow_stage_is_repeated_less_often() -> None:
    clock = _Clock([2.0])
    assert measure(clock.stage, clock).p50_s == 2.0
    assert clock.calls == WARM_UP + MIN_REPEATS


def test_two_stages_in_turns_are_slowed_alike() -> None:
    """The machine gets slower with every run; one after the other they would differ by more."""
    now_s = 0.0
    runs: list[float] = []

    def stage(work_s: float) -> None:
        nonlocal now_s
        runs.append(work_s)
        now_s += work_s * (1 + 0.001 * len(runs))

    found = measure_ratio(lambda: stage(0.002), lambda: stage(0.004), lambda: now_s)
    assert found == pytest.approx(0.5, rel=0.01)
    assert runs == [0.002, 0.004] * (WARM_UP + REPEATS)


def test_every_stage_is_measured(built: BuildConfig) -> None:
    bundle = open_bundle(built.out)
    (profile,) = bundle.advice.profiles
    wanted = {PREPARE_STAGE, *(segment_stage(i) for i in range(3))}
    wanted |= {exit_stage(head.id) for head in bundle.advice.exits}
    wanted |= {fused_stage(run.first, run.stop) for run in bundle.advice.fused}
    for path in bundle.contract.paths:
        for level in range(2):
            wanted |= {encode_stage(path.id, level), decode_stage(path.id, level)}
    assert profile.stages.keys() == wanted
    assert all(0 < time.p50_s <= time.p95_s < 1 for time in profile.stages.values())


def test_facts_say_what_the_figures_depend_on() -> None:
    facts = machine_facts(threads=1)
    assert facts["threads"] == "1" and facts["batch"] == "1"
    assert all(facts[name] for name in ("machine", "processor", "cores", "onnxruntime", "numpy"))
