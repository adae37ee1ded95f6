"""How close is a simulated run to the same run of real processes? Phase by phase, over the shaper.

A cloud, a shaper and an edge process play the demo's link of four phases; then the simulator plays
it with the same schedule, the same pages in the same order, and the stage times that the real run
had (an emulated device multiplies what this machine does now, not what it did when the bundle was
built). What passes between two jobs and what a message takes besides the link are the simulator's
own constants; they are measured beside. The baseline in the same run is a second real run: what two
runs differ by, no simulator can beat.

    python benchmarks/calibration.py --bundle out/demo/bundle --source out/demo/pages.npz
"""

from __future__ import annotations

import sys
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any

from results import parser, percentile, report

from splitnet.bundle import Bundle
from splitnet.machines.agent_config import AgentConfig
from splitnet.processes import cloud_process, edge_process, shaper_process
from splitnet.runtime.emulation import Emulation, parse_emulation
from splitnet.sim.phased_link import Phase
from splitnet.sim.running import read_bundle
from splitnet.sim.scenario import AgentSettings, Scenario, Source, WorkerSettings
from splitnet.sim.simulation import Simulation
from splitnet.values import Profile, StageTime, decode_stage, segment_stage

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))
ROAD, DEMO = import_module("examples.digits.road"), import_module("examples.digits.demo")

POLICIES = (f"fixed:plan={DEMO.PLAN}", DEMO.POLICY)
DEVICE = ROOT / "examples/digits/device.toml"
QUEUE_FRAMES = 8
WARM_UP, WARM_UP_S = "warm-up", 4.0
"""Processes start one after the other; the link's phases begin so much later than in the demo."""

PHASES = (
    Phase(WARM_UP, 0.0),
    *(Phase(phase.name, WARM_UP_S + phase.start_s) for phase in ROAD.PHASES),
)
POOR_S, END_S = WARM_UP_S + ROAD.POOR.start_s, WARM_UP_S + 30.0
SEEDS = range(8)
"""Of the simulated runs, taken together: they draw other stage times."""

SETTLING_S = 0.5
"""For so long after a phase has begun, answers are of neither."""

MAX_P50_ERROR, MAX_P95_ERROR, MAX_SHARE_ERROR = 0.15, 0.25, 0.10


@dataclass(frozen=True, slots=True)
class Point:
    """One answer of either world."""

    arrived_s: float
    latency_s: float
    local: bool


@dataclass(frozen=True, slots=True)
class RealRun:
    """What the processes did; the first frame came `start_s` after the shaper was ready.

    Attributes
    ----------
    steps_s
        What an answer of the exit took besides its stages: one job.
    networks_s
        Time on the network of an answer in the first phase, and the bytes that it moved.
    """

    start_s: float
    points: list[Point]
    stages_s: dict[str, list[float]]
    cloud_s: dict[tuple[str, int], list[tuple[float, float]]]
    steps_s: list[float]
    networks_s: list[tuple[float, int]]


def main() -> int:
    """Measure, print and write; the exit code says whether every phase is close enough."""
    options = parser("Simulated runs beside real ones, over the shaper.")
    options.add_argument("--bundle", type=Path, default=Path("out/demo/bundle"))
    options.add_argument("--source", type=Path, default=Path("out/demo/pages.npz"))
    chosen = options.parse_args()
    if not chosen.bundle.is_dir():
        print(f"{chosen.bundle} is not there: run `make demo` first", file=sys.stderr)
        return 2
    policies = {policy: _compare(chosen, policy) for policy in POLICIES}
    met = all(phase["met"] for policy in policies.values() for phase in policy["phases"].values())
    target = {"p50": MAX_P50_ERROR, "p95": MAX_P95_ERROR, "local_share": MAX_SHARE_ERROR}
    report("calibration", {"policies": policies, "target": target, "met": met}, chosen.json)
    return 0 if met else 1


def _compare(chosen: Any, policy: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        link = ROAD.link_settings(Path(folder), DEMO.SEED, WARM_UP_S)
        real = _real(chosen, policy, link)
        again = _real(chosen, policy, link)
        simulated = _simulated(read_bundle(chosen.bundle), policy, link, real)
    phases = {
        phase.name: _phase(
            *(_in_phase(run, phase) for run in (real.points, again.points, simulated))
        )
        for phase in PHASES
        if phase.name != WARM_UP
    }
    return {"phases": phases, "besides": _besides(real)}


def _besides(real: RealRun) -> dict[str, dict[str, float | None]]:
    """Return what passed besides stages and link, as it was and as the simulator has it."""
    link_s = [
        2 * ROAD.DELAY_MS / 1000 + 8 * nbytes / (1e6 * ROAD.GOOD_MBPS)
        for _, nbytes in real.networks_s
    ]
    hops_s = [(t - s) / 2 for (t, _), s in zip(real.networks_s, link_s, strict=True)]
    assumed = AgentSettings(Source(DEMO.RATE_HZ, 1))
    return {
        "step_ms": {"real": _median_ms(real.steps_s), "simulated": 1000 * assumed.step_s},
        "hop_ms": {"real": _median_ms(hops_s), "simulated": 1000 * assumed.hop_s},
    }


def _median_ms(times_s: Sequence[float]) -> float | None:
    return 1000 * percentile(times_s, 50) if times_s else None


def _phase(real: list[Point], again: list[Point], simulated: list[Point]) -> dict[str, Any]:
    found = {"real": real, "real_again": again, "simulated": simulated}
    figures = {name: _figures(points) for name, points in found.items()}
    wanted, got = figures["real"], figures["simulated"]
    error = {
        "p50": got["p50_ms"] / wanted["p50_ms"] - 1,
        "p95": got["p95_ms"] / wanted["p95_ms"] - 1,
        "local_share": got["local_share"] - wanted["local_share"],
    }
    met = (
        abs(error["p50"]) <= MAX_P50_ERROR
        and abs(error["p95"]) <= MAX_P95_ERROR
        and abs(error["local_share"]) <= MAX_SHARE_ERROR
    )
    return {**figures, "error": error, "met": met}


def _figures(points: Sequence[Point]) -> dict[str, float]:
    latencies_ms = [1000 * point.latency_s for point in points]
    return {
        "answers": len(points),
        "p50_ms": percentile(latencies_ms, 50),
        "p95_ms": percentile(latencies_ms, 95),
        "local_share": sum(point.local for point in points) / len(points),
    }


def _in_phase(points: list[Point], phase: Phase) -> list[Point]:
    starts_s = [other.start_s for other in PHASES]
    return [
        point
        for point in points
        if PHASES[bisect_right(starts_s, point.arrived_s) - 1] is phase
        and point.arrived_s - phase.start_s >= SETTLING_S
        and point.arrived_s < END_S
    ]


# --- the two worlds -----------------------------------------------------------------------------


def _real(chosen: Any, policy: str, link: dict[str, str | int]) -> RealRun:
    shape = [t for key, v in link.items() for t in (f"--{key.replace('_', '-')}", str(v))]
    options = ["--source", str(chosen.source), "--repeat", "100", "--policy", policy]
    options += ["--rate", f"{DEMO.RATE_HZ:g}", "--limit", str(round(DEMO.RATE_HZ * END_S))]
    options += ["--deadline-ms", f"{1000 * DEMO.DEADLINE_S:g}", "--queue", str(QUEUE_FRAMES)]
    options += ["--emulate-device", str(DEVICE)]
    with (
        cloud_process(chosen.bundle) as cloud,
        shaper_process(cloud.endpoint, *shape) as shaper,
    ):
        ready_s = time.monotonic()
        with edge_process(chosen.bundle, shaper.endpoint, *options) as edge:
            lines: list[dict[str, Any]] = []
            start_s = inf  # the edge does not tell: the earliest time that an answer allows
            for line in edge.answers():
                passed_s = line["latency_ms"] / 1000 + line["frame"] / DEMO.RATE_HZ
                start_s = min(start_s, time.monotonic() - ready_s - passed_s)
                lines.append(line)
    stages_s: defaultdict[str, list[float]] = defaultdict(list)
    cloud_s: defaultdict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    steps_s: list[float] = []
    networks_s: list[tuple[float, int]] = []
    for line in lines:
        times_ms = line["stages_ms"]
        if line["answered_by"] == "exit" and not line["uplink_bytes"]:
            steps_s.append((line["latency_ms"] - sum(times_ms.values())) / 1000)
        if line["answered_by"] == "cloud" and start_s + line["frame"] / DEMO.RATE_HZ < POOR_S:
            nbytes = sum(line[f"{which}_bytes"] for which in ("uplink", "downlink", "header"))
            networks_s.append((times_ms["network"] / 1000, nbytes))
        for stage, time_ms in times_ms.items():
            stages_s[stage].append(time_ms / 1000)
        if line["answered_by"] == "cloud":
            served = (line["plan"].partition("@")[0], line["level"])
            run = (times_ms["cloud:decode"] / 1000, times_ms["cloud:run"] / 1000)
            cloud_s[served].append(run)
    points = [
        Point(
            start_s + line["frame"] / DEMO.RATE_HZ,
            line["latency_ms"] / 1000,
            line["answered_by"] != "cloud",
        )
        for line in lines
    ]
    return RealRun(start_s, points, dict(stages_s), dict(cloud_s), steps_s, networks_s)


def _simulated(
    bundle: Bundle, policy: str, link: dict[str, str | int], real: RealRun
) -> list[Point]:
    built = bundle.advice.profiles[0]
    profiles = (
        built,
        _device_profile(bundle, built, real),
        _worker_profile(bundle, built, real),
    )
    bundle = replace(bundle, advice=replace(bundle.advice, profiles=profiles))
    device = AgentSettings(
        source=Source(DEMO.RATE_HZ, round(DEMO.RATE_HZ * END_S), real.start_s, order="table"),
        policy=policy,
        profile="device as it was",
        bounds=AgentConfig(deadline_s=DEMO.DEADLINE_S, queue_frames=QUEUE_FRAMES),
    )
    scenario = Scenario(
        agents=(device,),
        link=link,
        worker=WorkerSettings(profile="worker as it was"),
        phases=PHASES,
    )
    return [
        Point(
            answer.arrived_s,
            answer.delivered.latency_s,
            answer.delivered.provenance.answered_by != "cloud",
        )
        for seed in SEEDS
        for answer in Simulation(bundle, scenario, seed).run().answers
    ]


def _device_profile(bundle: Bundle, built: Profile, real: RealRun) -> Profile:
    """Return the stage times of the run; of what it did not do, those of the build, slowed."""
    device = parse_emulation(str(DEVICE))
    assert isinstance(device, Emulation)
    stages = {}
    for key, built_time in built.stages.items():
        factor = device.factor(bundle.advice.costs.get(key, {"other": 1.0}))
        stages[key] = StageTime(factor * built_time.p50_s, factor * built_time.p95_s)
    for name, times_s in sorted(real.stages_s.items(), key=lambda item: len(item[1])):
        keys = name.split("+")
        if not all(key in built.stages for key in keys):
            continue
        whole_s = sum(built.stages[key].p50_s for key in keys)
        for key in keys:
            stages[key] = _time(times_s, built.stages[key].p50_s / whole_s)
    return Profile("device as it was", stages)


def _worker_profile(bundle: Bundle, built: Profile, real: RealRun) -> Profile:
    """Return the times of the run: what an earlier entry takes more is its segment's."""
    stages = dict(built.stages)
    behind_s = 0.0
    for (path, level), runs in sorted(
        real.cloud_s.items(), key=lambda item: -bundle.contract.path(item[0][0]).hops[0].entry
    ):
        entry = bundle.contract.path(path).hops[0].entry
        stages[decode_stage(path, level)] = _time([decode_s for decode_s, _ in runs])
        if not behind_s:
            for index in range(entry + 1, len(bundle.contract.segments)):
                stages[segment_stage(index)] = StageTime(0.0, 0.0)
        run = _time([run_s for _, run_s in runs])
        stages[segment_stage(entry)] = StageTime(
            max(0.0, run.p50_s - behind_s), max(0.0, run.p95_s - behind_s)
        )
        behind_s = max(behind_s, run.p50_s)
    return Profile("worker as it was", stages)


def _time(times_s: Sequence[float], share: float = 1.0) -> StageTime:
    return StageTime(share * percentile(times_s, 50), share * percentile(times_s, 95))


if __name__ == "__main__":
    sys.exit(main())
