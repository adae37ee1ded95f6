"""What is in a bundle, for people and for machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from splitnet.builder.promises import exit_promise, promise_rows, skip_promise, stop_promises
from splitnet.bundle import Bundle
from splitnet.bundle.contract import Path
from splitnet.values import (
    Plan,
    Profile,
    StageTime,
    TensorSpec,
    exit_stage,
    plan_key,
    segment_stage,
)

Tables = list[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]
"""Title, header and rows of each table."""


def describe(bundle: Bundle) -> dict[str, Any]:
    """Return everything worth knowing of a bundle as a JSON object."""
    contract, advice = bundle.contract, bundle.advice
    return {
        "name": contract.name,
        "contract": contract.sha256,
        "preprocess": list(contract.preprocess),
        "postprocess": contract.postprocess and dict(contract.postprocess.step),
        "boundaries": [
            {
                "boundary": number,
                "cut": boundary.cut,
                "tensors": [
                    {"dtype": t.dtype, "dims": list(t.dims), "bytes": _static_bytes(t)}
                    for t in boundary.tensors
                ],
            }
            for number, boundary in enumerate(contract.boundaries)
        ],
        "segments": [
            {
                "segment": number,
                "file": segment.graph.file,
                "flops": advice.flops.get(segment_stage(number), 0),
            }
            for number, segment in enumerate(contract.segments)
        ],
        "paths": [_path(bundle, path) for path in contract.paths],
        "exits": [
            {
                "exit": head.id,
                "boundary": head.boundary,
                "flops": advice.flops.get(exit_stage(head.id), 0),
                "temperature": head.temperature,
                "threshold": head.threshold,
                "accuracy": bundle.table.mean_exit_score(head.id),
                "share": bundle.table.exit_share(head.id, head.threshold),
            }
            for head in advice.exits
        ],
        "promise": exit_promise(bundle),
        "prefilter": skip_promise(bundle),
        "stops": stop_promises(bundle),
        "fused": [
            {"first": run.first, "stop": run.stop, "file": run.graph.file} for run in advice.fused
        ],
        "plans": [_plan(bundle, plan) for plan in advice.plans],
        "profiles": [_profile(profile) for profile in advice.profiles],
        "roles": dict(advice.roles),
    }


def tables(content: dict[str, Any]) -> Tables:
    """Return the tables that show what `describe` returned."""
    return [
        (
            f"{content['name']}: boundaries",
            ("cut", "number", "tensor", "bytes"),
            [_boundary_row(boundary) for boundary in content["boundaries"]],
        ),
        (
            "paths",
            ("path", "kind", "boundary", "level", "accuracy", "bytes", "hash"),
            [row for path in content["paths"] for row in _path_rows(path)],
        ),
        (
            "first parts of payloads (answers to them)",
            ("plan", "parts", "accuracy", "bytes"),
            [row for path in content["paths"] for row in _part_rows(path)],
        ),
        (
            "learned paths (bytes of their own files)",
            ("path", "leaves at", "enters at", "bytes"),
            [
                (path["path"], path["boundary"], path["entry"], path["extra_bytes"])
                for path in content["paths"]
                if path["extra_bytes"] is not None
            ],
        ),
        (
            "exits (share of the test samples that leave there)",
            ("exit", "boundary", "accuracy", "share", "threshold", "temperature", "MFLOPs"),
            [_exit_row(head) for head in content["exits"]],
        ),
        (
            "promises",
            ("of", "promise", "confidence", "certified on", "test samples", "speed-up"),
            promise_rows(content["promise"], content["prefilter"], content["stops"]),
        ),
        (
            "plans",
            ("plan", "accuracy", "bytes", "ends early", "replies"),
            [_plan_row(plan) for plan in content["plans"]],
        ),
        *(
            (
                f"profile: {profile['device']} ({profile['facts'].get('processor', 'unknown')})",
                ("stage", "p50 ms", "p95 ms"),
                [_stage_row(*stage) for stage in profile["stages"].items()],
            )
            for profile in content["profiles"]
        ),
    ]


def _profile(profile: Profile) -> dict[str, Any]:
    energy = profile.energy
    return {
        "device": profile.device,
        "facts": dict(profile.facts),
        "stages": {stage: _milliseconds(time) for stage, time in profile.stages.items()},
        "batches": [
            {"stage": entry.stage, "batch": entry.batch, **_milliseconds(entry.time)}
            for entry in profile.batches
        ],
        "peak_bytes": profile.peak_bytes,
        "energy": None
        if energy is None
        else {
            "source": energy.source,
            "rail": energy.rail,
            "idle_w": energy.idle_w,
            "stages_mj": {stage: 1e3 * joules for stage, joules in energy.stages_j.items()},
        },
    }


def _milliseconds(time: StageTime) -> dict[str, float]:
    return {"p50_ms": time.p50_s * 1e3, "p95_ms": time.p95_s * 1e3}


def _path(bundle: Bundle, path: Path) -> dict[str, Any]:
    return {
        "path": path.id,
        "kind": path.kind,
        "boundary": path.hops[0].boundary,
        "hash": bundle.contract.path_hash(path.id).hex(),
        "entry": path.hops[-1].entry,
        "extra_bytes": bundle.advice.extra_bytes.get(path.id),
        "levels": [
            {
                "level": level,
                "name": path.levels[level].name,
                "plan": plan_key(path.id, level),
                "accuracy": bundle.table.mean_score(path.id, level),
                "bytes": bundle.table.mean_bytes(path.id, level),
                "parts": [
                    {
                        "accuracy": float(part.score.mean(dtype=float)),
                        "bytes": float(part.bytes.mean()),
                    }
                    for part in bundle.table.parts.get((path.id, level), ())
                ],
            }
            for level in range(len(path.levels))
        ],
    }


def _plan(bundle: Bundle, plan: Plan) -> dict[str, Any]:
    statistics = bundle.table.plan_statistics(plan)
    return {
        "plan": plan.key,
        "accuracy": statistics.accuracy,
        "bytes": statistics.bytes,
        "exit_share": statistics.exit_share,
        "replies": statistics.replies,
    }


def _boundary_row(boundary: dict[str, Any]) -> tuple[object, ...]:
    tensors = boundary["tensors"]
    shapes = ", ".join(f"{t['dtype']} {'x'.join(map(str, t['dims']))}" for t in tensors)
    sizes = [t["bytes"] for t in tensors]
    return boundary["cut"], boundary["boundary"], shapes, "dynamic" if None in sizes else sum(sizes)


def _static_bytes(tensor: TensorSpec) -> int | None:
    """Return the size of one sample, ``None`` if it differs from sample to sample."""
    dynamic = any(isinstance(size, str) for size in tensor.dims[1:])
    return None if dynamic else tensor.sample_bytes()


def _path_rows(path: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            path["path"],
            path["kind"],
            path["boundary"],
            f"{level['level']} {level['name']}",
            f"{level['accuracy']:.2%}",
            f"{level['bytes']:.0f}",
            path["hash"][:8],
        )
        for level in path["levels"]
    ]


def _part_rows(path: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            level["plan"],
            f"{number} of {len(level['parts']) + 1}",
            f"{part['accuracy']:.2%}",
            f"{part['bytes']:.0f}",
        )
        for level in path["levels"]
        for number, part in enumerate(level["parts"], 1)
    ]


def _exit_row(head: dict[str, Any]) -> tuple[object, ...]:
    return (
        head["exit"],
        head["boundary"],
        f"{head['accuracy']:.2%}",
        f"{head['share']:.1%}",
        f"{head['threshold']:.4f}",
        f"{head['temperature']:.2f}",
        f"{head['flops'] / 1e6:.2f}",
    )


def _plan_row(plan: dict[str, Any]) -> tuple[object, ...]:
    share = f"{plan['exit_share']:.1%}" if plan["exit_share"] else ""
    replies = f"{plan['replies']:.2f}" if plan["replies"] > 1 else ""
    return plan["plan"], f"{plan['accuracy']:.2%}", f"{plan['bytes']:.0f}", share, replies


def _stage_row(stage: str, time: dict[str, float]) -> tuple[object, ...]:
    return stage, f"{time['p50_ms']:.3f}", f"{time['p95_ms']:.3f}"


def show(found: Tables, print_table: Callable[[str, Sequence[str], list[Any]], None]) -> None:
    """Print the tables that have rows."""
    for title, header, rows in found:
        if rows:
            print_table(title, header, rows)
