"""The command ``splitnet sim run``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitnet import console
from splitnet.bundle import Bundle, load_bundle
from splitnet.errors import BundleError, ConfigError
from splitnet.sim.scenario import Scenario, load_scenario
from splitnet.values import SKIP

EXAMPLE = """\
example:
  splitnet sim run examples/scenarios/four-phases.toml --plot run.png

The same scenario, bundle and seed give the same answers, to the last bit. The exit code is 1 if a
frame was neither answered nor dropped before admission.
"""

WAYS = ("cloud", "exit", "device", SKIP)
"""Who may have answered."""


def main_run(argv: Sequence[str] | None = None) -> int:
    """Play a scenario in virtual time; return the exit code."""
    parser = console.Parser(
        prog="splitnet sim run",
        description="Play a scenario in virtual time: real machines and policies, no tensors.",
        epilog=EXAMPLE,
    )
    parser.add_argument("scenario", metavar="SCENARIO.toml", type=Path)
    parser.add_argument("--seed", metavar="N", type=int, help="instead of the scenario's")
    parser.add_argument("--bundle", metavar="DIR", type=Path, help="instead of the scenario's")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw what happened (.png, .svg)")
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more to stderr")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _run(arguments), json_errors=arguments.json)


def read_bundle(directory: Path) -> Bundle:
    """Return the bundle in `directory`; its graphs are not needed and may be missing.

    Raises
    ------
    BundleError
        The directory or one of the three documents is missing or damaged.
    """
    if not directory.is_dir():
        raise BundleError(
            f"there is no bundle at {directory}; make one with splitnet build --out {directory}, "
            "or name one with --bundle"
        )
    return load_bundle(lambda name: (directory / name).read_bytes())


def _run(arguments: argparse.Namespace) -> int:
    console.setup_logging(arguments.verbose)
    scenario = load_scenario(arguments.scenario)
    bundle = read_bundle(_bundle_directory(arguments, scenario))
    if arguments.plot is not None:
        import splitnet.sim.plotting  # noqa: F401  # before the run, not after it, if it is missing
    from splitnet.sim.report import problems, summarise
    from splitnet.sim.simulation import Simulation

    outcome = Simulation(bundle, scenario, arguments.seed).run()
    summary = summarise(outcome)
    if arguments.plot is not None:
        from splitnet.sim.picture import draw

        draw(outcome, arguments.plot)
    if arguments.json:
        console.emit_json(summary)
    else:
        _show(summary)
    broken = problems(outcome)
    for problem in broken:
        sys.stderr.write(f"error: {problem}\n")
    return console.EXIT_FAILED if broken else console.EXIT_OK


def _bundle_directory(arguments: argparse.Namespace, scenario: Scenario) -> Path:
    if arguments.bundle is not None:
        return Path(arguments.bundle)
    if scenario.bundle is None:
        raise ConfigError(f"{arguments.scenario} names no bundle: add one, or give --bundle DIR")
    return Path(scenario.bundle)


def _show(summary: dict[str, Any]) -> None:
    """Show a line for each phase, each agent if there are several, and one for all to a person."""
    ways = _ways(summary)
    rows = [
        _row(part[kind], part, ways)
        for kind, parts in (("phase", summary["phases"]), ("agent", summary["agents"]))
        if len(parts) > 1
        for part in parts
    ]
    title = (
        f"{summary['scenario']}, seed {summary['seed']}: {summary['simulated_s']:.1f} s, "
        f"{summary['frames']} frames, {summary['dropped_frames']} dropped, "
        f"{summary['reconnects']} reconnects"
    )
    shares = "/\n".join(ways) + " %"
    header = ("", "answers", shares, "right", "bytes", "p50\nms", "p95\nms", "late")
    console.print_table(title, header, [*rows, _row("all", summary, ways)])
    for remark in summary["remarks"]:
        console.say(f"note: {remark}")


def _ways(summary: dict[str, Any]) -> list[str]:
    """Return who answered; a prefilter only where there is one."""
    return [way for way in WAYS if way != SKIP or SKIP in summary["answered_by"]]


def _row(name: str, figures: dict[str, Any], ways: Sequence[str]) -> tuple[object, ...]:
    answers, by = figures["answers"], figures["answered_by"]
    if not answers:
        return (name, 0, *[""] * 6)
    return (
        name,
        answers,
        "/".join(f"{100 * by.get(way, 0) / answers:.0f}" for way in ways),
        "" if figures["accuracy"] is None else f"{figures['accuracy']:.2%}",
        round(figures["uplink_bytes"] / answers),
        *(f"{figures['latency_ms'][which]:.1f}" for which in ("p50", "p95")),
        figures["late"],
    )
