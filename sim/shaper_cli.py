"""The command ``splitnet sim shape``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitnet import console
from splitnet.config import load_config
from splitnet.sim.shaper_config import ShaperConfig

EXAMPLE = """\
example:
  splitnet sim shape --listen 127.0.0.1:6000 --to 127.0.0.1:5555 \\
      --rate-up 2mbit --rate-down 10mbit --delay 20ms --jitter 5ms --queue-bytes 65536

One line on stdout says that clients may connect, and where: the port 0 lets the system choose one.
SIGTERM ends it with a report of how well rate and delay were kept; SIGUSR1 asks for one. Every
option may also stand in the environment (SPLITNET_SHAPE_RATE) or in the table [shape] of a TOML
file; the command line wins. Traces and schedules are described in docs/shaper.md.
"""

_OPTIONS: Mapping[str, tuple[str, str]] = {
    "listen": ("ADDRESS", "where clients connect, on loopback"),
    "to": ("ADDRESS", "where their connections lead, on loopback"),
    "rate": ("RATE", "of both directions, such as 5mbit"),
    "rate_up": ("RATE", "from the clients to the target"),
    "rate_down": ("RATE", "from the target to the clients"),
    "trace": ("FILE", "rates of both directions: a mahimahi trace or a CSV file"),
    "trace_up": ("FILE", "rates from the clients to the target"),
    "trace_down": ("FILE", "rates from the target to the clients"),
    "trace_name": ("NAME", "which trace of a CSV file with several"),
    "trace_end": ("WHAT", "after the end of a trace: loop, stop or hold (default: loop)"),
    "delay": ("TIME", "one way, such as 20ms (default: 0ms)"),
    "jitter": ("TIME", "how far the delay varies, at most the delay itself (default: 0ms)"),
    "queue_bytes": ("N", "bound on what waits in each direction (default: 65536)"),
    "schedule": ("FILE", "changes of rate and delay, dead periods, resets"),
    "seed": ("N", "of the jitter (default: 0)"),
}


def main_shape(argv: Sequence[str] | None = None) -> int:
    """Run ``splitnet sim shape`` with `argv` and return the exit code."""
    parser = console.Parser(
        prog="splitnet sim shape",
        description="Put a slow link between two TCP sockets of this machine.",
        epilog=EXAMPLE,
    )
    for name, (value, text) in _OPTIONS.items():
        parser.add_argument("--" + name.replace("_", "-"), metavar=value, help=text)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="TOML file with a table [shape]"
    )
    parser.add_argument("--json", action="store_true", help="print ready line and report as JSON")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more to stderr")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _shape(arguments), json_errors=arguments.json)


def _shape(arguments: argparse.Namespace) -> int:
    console.setup_logging(arguments.verbose)
    given: dict[str, Any] = {name: getattr(arguments, name) for name in _OPTIONS}
    config = load_config(
        ShaperConfig, "shape", options=given, environ=os.environ, file=arguments.config
    )
    from splitnet.sim.shaping import shape

    shape(config, console.emit_json if arguments.json else _say, _notice)
    return console.EXIT_OK


def _say(message: Mapping[str, Any]) -> None:
    """Show a ready line or a report to a person."""
    if "report" not in message:
        console.say(f"ready at {message['endpoint']}, to {message['to']}")
        return
    report = message["report"]
    lateness = report["timer_lateness_ms"]
    console.print_table(
        f"shaped for {report['seconds']:.1f} s; timers were {lateness['p95']} ms late (p95)",
        ("", "delivered", "rate Mbit/s", "asked", "worst window", "delay error p50/p95/max ms"),
        [(way, *_cells(report[way])) for way in ("up", "down")],
    )
    console.print_table(
        "connections", ("what", "number"), [(k, v) for k, v in report["connections"].items()]
    )


def _cells(lane: Mapping[str, Any]) -> tuple[str, ...]:
    windows, error = lane["windows_1s"], lane["delay_error_ms"]
    worst = windows.get("error_percent_max")
    return (
        f"{lane['delivered_bytes']:,} B",
        str(windows.get("delivered_mbps", "-")),
        str(windows.get("asked_mbps", "-")),
        "-" if worst is None else f"{worst} %",
        f"{error['p50']} / {error['p95']} / {error['max']}",
    )


def _notice(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
