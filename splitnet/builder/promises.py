"""What exits, prefilter and stops of a bundle promise, and what they do on its test samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from splitnet.bundle import Bundle
from splitnet.training.certify import CLOSED, LEARN_THEN_TEST
from splitnet.values import SKIP, ExitStep, Plan, exit_stage, plan_key, segment_stage


def exit_promise(bundle: Bundle) -> dict[str, Any] | None:
    """Return what the thresholds of all exits together were chosen by; ``None`` without exits.

    The speed-up is that of the mean time on the device of the first profile, by stage times.
    """
    heads = sorted(bundle.advice.exits, key=lambda head: head.boundary)
    if not heads:
        return None
    rule = tuple(
        ExitStep(head.id, head.confidence, head.threshold)
        for head in heads
        if head.threshold < CLOSED
    )
    leaves_at = bundle.table.leaves_at(rule)
    exact = next(path.id for path in bundle.contract.paths if path.kind == "exact")
    mixed = bundle.table.plan_statistics(Plan(exact, 0, rule)).accuracy
    return {
        **dict(bundle.advice.roles.get("exits") or {}),
        "test": {
            "samples": len(bundle.table),
            "share": float((leaves_at >= 0).mean()),
            "lost": bundle.table.mean_score(exact, 0) - mixed,
            "speed_up": _speed_up(bundle, rule),
        },
    }


def skip_promise(bundle: Bundle) -> dict[str, Any] | None:
    """Return what the prefilter was certified by; ``None`` without one."""
    prefilter = bundle.advice.prefilter
    if prefilter is None:
        return None
    head = prefilter.head
    skipped = bundle.table.exit_passed(SKIP, head.threshold)
    wanted = bundle.table.exits[SKIP].score == 0
    return {
        "boundary": head.boundary,
        "threshold": head.threshold,
        "flops": bundle.advice.flops.get(exit_stage(SKIP), 0),
        "interest": list(prefilter.interest),
        **dict(bundle.advice.roles.get("prefilter") or {}),
        "test": {
            "samples": int(wanted.sum()),
            "recall": 1 - float(skipped[wanted].mean()) if wanted.any() else None,
            "share": float(skipped.mean()),
        },
    }


def stop_promises(bundle: Bundle) -> list[dict[str, Any]]:
    """Return for each level with stops what they were chosen by; ``lost`` against all parts."""
    origin = bundle.advice.roles.get("stops") or {}
    found = []
    for plan in bundle.advice.plans:
        if not plan.stops or plan.exits:
            continue
        key = plan_key(plan.path, plan.level)
        whole = bundle.table.plan_statistics(replace(plan, stops=()))
        stopped = bundle.table.plan_statistics(plan)
        found.append(
            {
                "of": key,
                "thresholds": list(plan.stops),
                **dict(origin.get(key) or {}),
                "test": {
                    "samples": len(bundle.table),
                    "bytes": stopped.bytes,
                    "all_bytes": whole.bytes,
                    "replies": stopped.replies,
                    "lost": whole.accuracy - stopped.accuracy,
                },
            }
        )
    return found


def promise_rows(
    exits: dict[str, Any] | None,
    prefilter: dict[str, Any] | None,
    stops: Sequence[dict[str, Any]] = (),
) -> list[tuple[object, ...]]:
    """Return a line for each promise that there is."""
    rows: list[tuple[object, ...]] = []
    if prefilter is not None:
        test = prefilter["test"]
        found = "" if test["recall"] is None else f", recall {test['recall']:.2%}"
        labels = ", ".join(map(str, prefilter["interest"])) or "anything"
        rows.append(
            (
                f"prefilter for {labels}",
                f"recall at least {prefilter.get('recall', 0):.2%}",
                _percent(prefilter.get("confidence")),
                f"{prefilter.get('samples', 0)} of interest",
                f"{test['share']:.1%} skipped{found}",
                "",
            )
        )
    if exits is not None:
        test, speed_up = exits["test"], exits["test"]["speed_up"]
        rows.append(
            (
                "exits",
                _promised(exits),
                _percent(exits.get("confidence")),
                exits.get("samples", ""),
                f"{test['share']:.1%} leave, lost {test['lost']:.2%}",
                "" if speed_up is None else f"{speed_up:.2f}x",
            )
        )
    for told in stops:
        test = told["test"]
        found = f"{test['bytes']:.0f} of {test['all_bytes']:.0f} bytes, lost {test['lost']:.2%}"
        sure, samples = _percent(told.get("confidence")), told.get("samples", "")
        rows.append((f"stops of {told['of']}", _promised(told), sure, samples, found, ""))
    return rows


def _promised(told: dict[str, Any]) -> str:
    if "risk" in told:
        mean = "" if told.get("rule") == LEARN_THEN_TEST else " on average"
        return f"loss at most {told['risk']:.2%}{mean}"
    return f"none; at most {told['loss']:.2%} lost in calibration" if "loss" in told else "none"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _speed_up(bundle: Bundle, rule: Sequence[ExitStep]) -> float | None:
    """Return the time of all segments over the mean time with exits, by the first profile."""
    if not bundle.advice.profiles:
        return None
    stages = bundle.advice.profiles[0].stages
    count = len(bundle.contract.segments)
    needed = [*map(segment_stage, range(count)), *(exit_stage(step.exit) for step in rule)]
    if any(key not in stages for key in needed):
        return None
    boundaries = {head.id: head.boundary for head in bundle.advice.exits}
    until_s = np.cumsum([0.0, *(stages[segment_stage(i)].p50_s for i in range(count))])
    heads_s = np.cumsum([0.0, *(stages[exit_stage(step.exit)].p50_s for step in rule)])
    ends_s = [until_s[boundaries[step.exit]] + heads_s[i + 1] for i, step in enumerate(rule)]
    ends_s.append(until_s[-1] + heads_s[-1])  # index -1: who leaves at none
    mean_s = float(np.asarray(ends_s)[bundle.table.leaves_at(tuple(rule))].mean())
    return float(until_s[-1]) / mean_s if mean_s else None
