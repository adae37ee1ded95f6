"""The command ``splitnet profile``; it needs neither torch nor onnx."""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from splitnet.config import load_config
from splitnet.console import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    Parser,
    emit_json,
    print_table,
    progress,
    run,
    say,
)

_EXAMPLE = """example:
  splitnet profile digits.bundle --device kitchen-pi --data digits
  splitnet profile digits.bundle --device kitchen-pi --samples 10

With --samples only so many stages are measured; the others are predicted from the profile of
another device in the bundle, and the error to expect is stated. An interrupted profile goes on
where it was when the same command is given again.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the stages of a bundle on this machine and store the profile in its advice."""
    parser = Parser(prog="splitnet profile", description=main.__doc__, epilog=_EXAMPLE)
    parser.add_argument("bundle", metavar="DIR")
    parser.add_argument(
        "--device", metavar="NAME", help="name of the profile; one of the same name is replaced"
    )
    parser.add_argument("--data", metavar="SPEC", help="samples to measure preprocessing on")
    parser.add_argument("--threads", metavar="N", help="threads that a stage may use (1)")
    parser.add_argument(
        "--batches", metavar="N,N,...", help="batch sizes of the cloud's segments (1,2,4,8)"
    )
    parser.add_argument("--samples", metavar="N", help="measure N stages, predict the others")
    parser.add_argument(
        "--from", dest="reference", metavar="NAME", help="profile that predictions start from"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")
    arguments = parser.parse_args(argv)
    return run(lambda: _profile(arguments), json_errors=arguments.json)


def _profile(arguments: argparse.Namespace) -> int:
    from splitnet.builder.device_profile import ProfileConfig, profile_device

    options = {key: value for key, value in vars(arguments).items() if key != "json"}
    config = load_config(ProfileConfig, "profile", options=options, environ=os.environ)
    try:
        with progress() as report:
            summary = profile_device(config, report)
    except KeyboardInterrupt:
        sys.stderr.write(
            "error: interrupted; what was measured is kept beside the bundle, and the same command "
            "goes on from there\n"
        )
        return EXIT_INTERRUPTED
    if arguments.json:
        emit_json(summary)
    else:
        _show(summary)
    return EXIT_OK


def _show(summary: dict[str, Any]) -> None:
    rows = [_row(stage) for stage in summary["stages"]]
    print_table(f"profile: {summary['device']}", ("stage", "p50 ms", "p95 ms", "mJ", ""), rows)
    if summary["batches"]:
        print_table("tails by batch size", *tail_table(summary))
    peak_bytes = summary["peak_bytes"]
    say(f"energy: {summary['energy']}")
    say(f"peak memory: {'NOT AVAILABLE' if peak_bytes is None else f'{peak_bytes / 1e6:.0f} MB'}")
    predicted = summary["predicted"]
    if predicted is not None:
        say(
            f"{len(predicted['measured'])} of {len(rows)} stages measured, the others predicted: "
            f"expect an error of {predicted['error']:.0%}"
        )
    kept = f", {summary['resumed']} kept from before" if summary["resumed"] else ""
    say(f"stored in {summary['bundle']} after {summary['seconds']:.0f} s{kept}")


def _row(stage: dict[str, Any]) -> tuple[object, ...]:
    energy = "" if stage["mj"] is None else f"{stage['mj']:.3f}"
    note = "" if stage["measured"] else "predicted"
    return stage["stage"], f"{stage['p50_ms']:.3f}", f"{stage['p95_ms']:.3f}", energy, note


def tail_table(summary: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return header and rows: milliseconds a batch from each boundary to the end."""
    times_ms: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for entry in [*({**stage, "batch": 1} for stage in summary["stages"]), *summary["batches"]]:
        if entry["stage"].startswith("segment:"):
            times_ms[entry["batch"]][entry["stage"]] = entry["p50_ms"]
    rows: list[tuple[object, ...]] = []
    for first, segment in enumerate(times_ms[1]):
        tails_ms = (sum(list(times.values())[first:]) for times in times_ms.values())
        rows.append((f"from {segment} on", *(f"{tail_ms:.3f}" for tail_ms in tails_ms)))
    return ("tail", *(f"{batch} (ms)" for batch in times_ms)), rows
