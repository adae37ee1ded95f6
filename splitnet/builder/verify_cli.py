"""The command ``splitnet verify``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitnet.console import (
    EXIT_FAILED,
    EXIT_OK,
    Parser,
    emit_json,
    print_table,
    progress,
    run,
    say,
)

if TYPE_CHECKING:
    from splitnet.builder.verification import Check, Report

_EXAMPLE = """example:
  splitnet verify digits.bundle --data digits
  splitnet verify digits.bundle --device jetson-nano-gpu

A device class says how far results may be off where they are compared (docs/verify.md); without one
it is that of this machine.
"""


def main_verify(argv: Sequence[str] | None = None) -> int:
    """Prove on this machine that a bundle computes what it promises; return the exit code."""
    parser = Parser(prog="splitnet verify", description=main_verify.__doc__, epilog=_EXAMPLE)
    parser.add_argument("bundle", metavar="DIR", type=Path)
    parser.add_argument("--data", metavar="SPEC", help="samples to compare the exact paths on")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the data (0)")
    parser.add_argument(
        "--device", metavar="CLASS", help="device class or arithmetic whose tolerance counts"
    )
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=float,
        help="largest error of the same computation instead of the one of the class",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")
    arguments = parser.parse_args(argv)
    return run(lambda: _verify(arguments), json_errors=arguments.json)


def _verify(arguments: argparse.Namespace) -> int:
    from splitnet.builder.data import load_data
    from splitnet.builder.tolerance import tolerance_of
    from splitnet.builder.verification import verify_bundle

    tolerance = tolerance_of(arguments.device, arguments.tolerance)
    data = None if arguments.data is None else load_data(arguments.data, "test", arguments.seed)
    with progress() as report:
        found = verify_bundle(arguments.bundle, data, report, tolerance=tolerance)
    if arguments.json:
        emit_json(_to_json(found))
    else:
        _show(found)
    if found.ok:
        return EXIT_OK
    sys.stderr.write(f"error: {found.failure()}\n")
    return EXIT_FAILED


def _to_json(report: Report) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "tolerance": asdict(report.tolerance),
        "worst": {"what": report.worst.what, "error": _finite(report.worst.error)},
        "paths": [
            {
                "path": check.path,
                "kind": check.kind.value,
                "error": _finite(check.error),
                "limit": check.limit,
            }
            for check in report.largest
        ],
        "checks": [
            {
                "what": check.what,
                "samples": check.samples,
                "error": _finite(check.error),
                "limit": check.limit,
                "changed": check.changed,
                "allowed": check.allowed,
                "ok": check.ok,
            }
            for check in report.checks
        ],
    }


def _show(report: Report) -> None:
    header = ("comparison", "samples", "error", "limit", "changed", "")
    title = "largest errors, as shares of the largest output, and changed labels"
    print_table(title, header, [_row(check) for check in report.checks])
    rows = [
        (check.path, check.kind.value, f"{check.error:.1e}", f"{check.limit:.0e}")
        for check in report.largest
    ]
    print_table("largest error of each path", ("path", "", "error", "limit"), rows)
    say(f"tolerance of {report.tolerance.name}")
    if report.ok:
        say(f"largest error of an exact path: {report.worst.error:.1e} ({report.worst.what})")


def _row(check: Check) -> tuple[object, ...]:
    changed = "" if check.changed is None else check.changed
    error, limit = f"{check.error:.1e}", f"{check.limit:.0e}"
    return check.what, check.samples, error, limit, changed, "ok" if check.ok else "FAILED"


def _finite(error: float) -> float:
    return min(error, sys.float_info.max)
