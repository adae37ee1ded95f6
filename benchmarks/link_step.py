"""How soon does the greedy policy change its plan when the rate of the link steps? Real processes.

Over the shaper, 20 live requests a second, the rate steps down and up again and again. The setting
is one in which the best plan differs at the two rates, and the same run checks it: the policy
`fixed` follows each candidate at both rates, and the one with the least mean latency among those
that meet the accuracy floor is the best. A step is met if the policy took the way of the new best
plan (its path, or the device) for one of the first 5 requests or within 500 ms, whichever is later,
after it had taken the way of the old one before.

    python benchmarks/link_step.py --json out/link_step.json
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from math import inf
from pathlib import Path
from statistics import fmean, median
from typing import Any

from results import parser, report

from splitnet.bundle import Bundle
from splitnet.processes import cloud_process, edge_process, shaper_process
from splitnet.sim.running import read_bundle
from splitnet.values import DEVICE, ExitStep, Plan

RATE_HZ, DEADLINE_MS, QUEUE_FRAMES = 20.0, 150, 8
DEVICE_FACTORS = "conv = 60\nother = 10\ncodec = 10\n"
LINK = ("--delay", "5ms", "--queue-bytes", "32768")
ON_DEVICE = (f"{DEVICE}:end", f"{DEVICE}:end+exits")
CANDIDATES = ("input@0", "input@1", "bottleneck@1", "bottleneck@1+exits", *ON_DEVICE)

FIRST_STEP_S = 5.0
"""The edge process has started and has known the link for some seconds by then."""

PERIOD_S = 3.013
"""Between two steps. No multiple of the time between two requests, so that a step comes now sooner,
now later after a request."""

KNOWN_S = 1.0
"""At the end of a period: by then the policy knows the rate, and takes the way that it prefers."""

MEASURED_S = 2.0
"""At the end of either half of a run that follows one plan."""

MAX_REQUESTS, MAX_S = 5, 0.5
FAST, SLOW = "fast", "slow"


@dataclass(frozen=True, slots=True)
class Request:
    """What the edge process said of a request, and when it arrived on the shaper's clock."""

    arrived_s: float
    line: dict[str, Any]

    @property
    def way(self) -> str:
        """The way of its last plan."""
        return way_of(self.line["plan"])

    @property
    def decided_s(self) -> float:
        """When its way was chosen at the latest: all that it waited comes before, no stage does."""
        waited_ms = self.line["latency_ms"] - sum(self.line["stages_ms"].values())
        return self.arrived_s + max(0.0, float(waited_ms)) / 1000


@dataclass(frozen=True, slots=True)
class Run:
    """The requests of one edge process in the order of their arrival, and its summary."""

    requests: list[Request]
    summary: dict[str, Any]

    def between(self, start_s: float, end_s: float) -> list[Request]:
        """Return the requests that arrived in this time."""
        return [r for r in self.requests if start_s <= r.arrived_s < end_s]


def main() -> int:
    """Measure, print and write; the exit code says whether the target is met."""
    options = parser("The time from a step of the link's rate to another plan.")
    options.add_argument("--bundle", type=Path, default=Path("out/demo/bundle"))
    options.add_argument("--source", type=Path, default=Path("out/demo/pages.npz"))
    options.add_argument("--fast", default="20mbit", help="rate of both directions")
    options.add_argument("--slow", default="500kbit", help="rate of both directions")
    options.add_argument("--floor", type=float, default=0.97, help="of the expected accuracy")
    options.add_argument("--steps", type=int, default=14)
    chosen = options.parse_args()
    if not (chosen.bundle.is_dir() and chosen.source.is_file()):
        print(f"{chosen.bundle} is not there: run `make demo` first", file=sys.stderr)
        return 2
    fixed = _fixed_plans(chosen)
    greedy = _greedy_steps(chosen, fixed["best_way"])
    met = fixed["differs"] and greedy["met"]
    figures = {
        "settings": {
            "rates": {FAST: chosen.fast, SLOW: chosen.slow},
            "link": LINK,
            "device": DEVICE_FACTORS.split("\n")[:-1],
            "floor": chosen.floor,
            "deadline_ms": DEADLINE_MS,
        },
        "fixed_plans": fixed,
        "greedy": greedy,
        "target": {"requests": MAX_REQUESTS, "or_ms": 1000 * MAX_S, "late": 0, "lost": 0},
        "met": met,
    }
    report("link_step", figures, chosen.json)
    return 0 if met else 1


# --- which plan is best -------------------------------------------------------------------------


def _fixed_plans(chosen: Any) -> dict[str, Any]:
    """Follow every candidate that meets the floor at both rates; return the latencies."""
    accuracy = accuracies(read_bundle(chosen.bundle))
    half_s = FIRST_STEP_S - KNOWN_S
    ends_s = {FAST: half_s, SLOW: half_s + KNOWN_S + MEASURED_S}
    plans: dict[str, dict[str, Any]] = {}
    for plan in CANDIDATES:
        if accuracy[plan] < chosen.floor:
            continue
        run = _run(chosen, f"fixed:plan={plan}", [half_s], ends_s[SLOW])
        mean_ms = {
            rate: round(
                fmean(r.line["latency_ms"] for r in run.between(end_s - MEASURED_S, end_s)), 1
            )
            for rate, end_s in ends_s.items()
        }
        plans[plan] = {"accuracy": round(accuracy[plan], 4), "mean_ms": mean_ms}
    best = {rate: min(plans, key=lambda p: plans[p]["mean_ms"][rate]) for rate in (FAST, SLOW)}
    best_way = {rate: way_of(plan) for rate, plan in best.items()}
    better_by_ms = {
        rate: round(plans[best[other]]["mean_ms"][rate] - plans[best[rate]]["mean_ms"][rate], 1)
        for rate, other in ((FAST, SLOW), (SLOW, FAST))
    }
    return {
        "plans": plans,
        "best": best,
        "best_way": best_way,
        "better_by_ms": better_by_ms,
        "differs": best_way[FAST] != best_way[SLOW],
    }


def accuracies(bundle: Bundle) -> dict[str, float]:
    """Return what every plan is expected to score, as the policy knows it."""
    table, advice = bundle.table, bundle.advice
    whole = next(path.id for path in bundle.contract.paths if path.kind == "exact")
    rule = tuple(ExitStep(head.id, head.confidence, head.threshold) for head in advice.exits)
    plans = {plan.key: plan for plan in advice.plans}
    plans |= {ON_DEVICE[0]: Plan(whole, 0), ON_DEVICE[1]: Plan(whole, 0, rule)}
    return {key: table.plan_statistics(plan).accuracy for key, plan in plans.items()}


# --- what the policy does -----------------------------------------------------------------------


def _greedy_steps(chosen: Any, best_way: dict[str, str]) -> dict[str, Any]:
    """Let the policy meet the steps; return what it did after each."""
    times_s = [FIRST_STEP_S + number * PERIOD_S for number in range(chosen.steps)]
    run = _run(chosen, f"greedy:floor={chosen.floor:g}", times_s, times_s[-1] + PERIOD_S)
    each = [
        _step(run, at_s, to, best_way)
        for at_s, to in zip(times_s, cycle((SLOW, FAST)), strict=False)
    ]
    lost = run.summary["frames"] - len(run.requests)
    late = sum(request.line["late"] for request in run.requests)
    return {
        "requests": len(run.requests),
        "late": late,
        "lost": lost,
        **{f"to_{to}": _summary([s for s in each if s["to"] == to]) for to in (SLOW, FAST)},
        "each": each,
        "met": not late and not lost and all(step["met"] for step in each),
    }


def _step(run: Run, at_s: float, to: str, best_way: dict[str, str]) -> dict[str, Any]:
    """Return how soon the policy took the best way at the new rate, and whether it stayed there."""
    old_way, new_way = best_way[FAST if to == SLOW else SLOW], best_way[to]
    after = run.between(at_s, at_s + PERIOD_S)
    first = next((i for i, request in enumerate(after) if request.way == new_way), None)
    took_s = inf if first is None else after[first].decided_s - at_s
    number = inf if first is None else first + 1
    settled_before = _usual_way(run.between(at_s - KNOWN_S, at_s)) == old_way
    return {
        "to": to,
        "at_s": round(at_s, 3),
        "request": None if first is None else number,
        "ms": None if first is None else round(1000 * took_s, 1),
        "back": 0 if first is None else sum(r.way != new_way for r in after[first:]),
        "late": sum(r.line["late"] for r in after),
        "settled_before": settled_before,
        "settled_after": _usual_way(after[-round(RATE_HZ * KNOWN_S) :]) == new_way,
        "met": settled_before and (number <= MAX_REQUESTS or took_s <= MAX_S),
        "until_then": [_trail(request, at_s) for request in after[: (first or 0) + 1]],
    }


def _trail(request: Request, at_s: float) -> str:
    """Return what people need to see where the time went."""
    line = request.line
    return (
        f"{1000 * (request.arrived_s - at_s):.0f} ms: {line['plan']} in {line['latency_ms']:.0f} "
        f"ms by the {line['answered_by']}; {line['reason']}"
    )


def _usual_way(requests: Sequence[Request]) -> str | None:
    """Return the way that most requests took, ``None`` if there are none."""
    most = Counter(request.way for request in requests).most_common(1)
    return most[0][0] if most else None


def _summary(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return median and worst of the steps in one direction; ``None`` if a step was never met."""
    figures: dict[str, Any] = {"steps": len(steps), "met": sum(step["met"] for step in steps)}
    for name in ("request", "ms"):
        values = [step[name] for step in steps if step[name] is not None]
        complete = len(values) == len(steps)
        figures[name] = {
            "median": median(values) if values else None,
            "worst": max(values) if complete else None,
        }
    return figures


def way_of(plan: str) -> str:
    """Return the path of a plan, or the device."""
    return plan.partition("@")[0].partition(":")[0]


# --- processes ----------------------------------------------------------------------------------


def _run(chosen: Any, policy: str, steps_s: Sequence[float], end_s: float) -> Run:
    """Run the processes until `end_s` after the shaper began, with a step at each of `steps_s`."""
    rates = cycle((chosen.slow, chosen.fast))
    events = [f"{at_s:.3f},rate,{rate}\n" for at_s, rate in zip(steps_s, rates, strict=False)]
    with tempfile.TemporaryDirectory() as folder:
        schedule, device = Path(folder) / "schedule.csv", Path(folder) / "device.toml"
        schedule.write_text("".join(events))
        device.write_text(DEVICE_FACTORS)
        link = ("--rate", chosen.fast, *LINK, "--schedule", str(schedule))
        options = ["--source", str(chosen.source), "--repeat", "100", "--policy", policy]
        options += ["--rate", f"{RATE_HZ:g}", "--limit", str(round(RATE_HZ * end_s))]
        options += ["--deadline-ms", str(DEADLINE_MS), "--queue", str(QUEUE_FRAMES)]
        options += ["--emulate-device", str(device)]
        with (
            cloud_process(chosen.bundle) as cloud,
            shaper_process(cloud.endpoint, *link) as shaper,
        ):
            began_s = time.monotonic()
            with edge_process(chosen.bundle, shaper.endpoint, *options) as edge:
                first_s, lines = inf, []
                for line in edge.answers():
                    # The earliest arrival of frame 0 that an answer allows is the true one.
                    after_s = line["latency_ms"] / 1000 + line["frame"] / RATE_HZ
                    first_s = min(first_s, time.monotonic() - began_s - after_s)
                    lines.append(line)
    requests = [Request(first_s + line["frame"] / RATE_HZ, line) for line in lines]
    return Run(sorted(requests, key=lambda request: request.arrived_s), edge.summary)


if __name__ == "__main__":
    sys.exit(main())
