"""The command ``splitnet edge``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from splitnet import console
from splitnet.config import load_config
from splitnet.devices import DEVICE_CLASSES, REFERENCE_NETWORK
from splitnet.edge.config import EdgeConfig

EXAMPLE = """\
example:
  splitnet edge run --bundle out/digits --connect tcp://127.0.0.1:5555 \\
      --source pages.npz --rate 20 --deadline-ms 150 --policy greedy:floor=0.95

Every answer is one JSON line on stdout with what ran where; the last line is the summary. Every
option may also stand in the environment (SPLITNET_EDGE_DEADLINE_MS) or in the table [edge] of a
TOML file; the command line wins. A sample that cannot be read is named, counted and skipped, and
the exit code is 1 at the end.
"""

SINGLE_THREADED: Mapping[str, str] = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""numpy's own thread pools cost memory and start-up time, and nothing here needs them."""

LIST = "list"
"""What to ask ``--emulate-device`` for the known device classes."""

_OPTIONS: Mapping[str, tuple[str, str]] = {
    "bundle": ("DIR", "bundle that both sides share"),
    "connect": ("ENDPOINT", "the worker, such as tcp://127.0.0.1:5555"),
    "directory": ("ENDPOINT", "instead of --connect: the directory that knows the workers"),
    "source": ("SPEC", "an .npz file, a folder of images or an image, with a range like [:100]"),
    "policy": ("NAME", "fixed:plan=PLAN or greedy[:floor=0.95] (default: greedy)"),
    "deadline_ms": ("N", "answer every frame by then (default: no deadline)"),
    "expiry_s": ("N", "without a deadline: wait this long for the cloud (default: 60)"),
    "rate": ("HZ", "frames a second of a live source (default: as fast as they are answered)"),
    "limit": ("N", "stop after N frames"),
    "repeat": ("N", "go through the source N times (default: 1)"),
    "queue": ("N", "frames that may wait, the newest win (default: 2)"),
    "max_inflight": ("N", "requests under way at once (default: 8)"),
    "threads": ("N", "threads that a stage may use (default: 1)"),
    "emulate_device": ("CLASS|FACTOR|FILE", "be as slow as a device; 'list' shows the classes"),
    "device": ("NAME", "name that the worker's log shows (default: the host's)"),
    "key": ("FILE", "secret key of this device (splitnet keys new --kind device)"),
    "server_key": ("KEY|FILE", "public key of the worker; with --key the link is encrypted"),
    "directory_key": ("KEY|FILE", "public key of the directory, with --directory and --key"),
    "max_reply_bytes": ("N", "largest reply accepted (default: 1048576)"),
    "send_queue_bytes": ("N", "bound on what waits to be sent (default: 16777216)"),
    "probe_budget_bps": ("BIT/S", "what probes of the link may cost; 0: none (default: 64000)"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``splitnet edge`` with `argv` and return the exit code."""
    parser = console.Parser(
        prog="splitnet edge",
        description="The edge: answer frames on this device and through a worker.",
        epilog=EXAMPLE,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="answer the frames of a source",
        description="Answer the frames of a source, on this device or through a worker.",
        epilog=EXAMPLE,
    )
    run.set_defaults(parser=run)
    for name, (value, text) in _OPTIONS.items():
        run.add_argument("--" + name.replace("_", "-"), metavar=value, help=text)
    run.add_argument("--config", metavar="FILE", type=Path, help="TOML file with a table [edge]")
    run.add_argument("--json", action="store_true", help="for lists; answers always are JSON lines")
    run.add_argument("-v", "--verbose", action="count", default=0, help="log more to stderr")
    return console.run(lambda: _run(parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    os.environ.update({k: v for k, v in SINGLE_THREADED.items() if k not in os.environ})
    console.setup_logging(arguments.verbose)
    given: dict[str, Any] = {name: getattr(arguments, name) for name in _OPTIONS}
    if given["emulate_device"] == LIST:
        return _list_devices(as_json=arguments.json)
    config = load_config(
        EdgeConfig, "edge", options=given, environ=os.environ, file=arguments.config
    )
    from splitnet.edge.running import run_edge

    summary = run_edge(config, console.emit_json, _notice)
    return console.EXIT_FAILED if summary.failed else console.EXIT_OK


def _list_devices(*, as_json: bool) -> int:
    classes = DEVICE_CLASSES.values()
    if as_json:
        for device in classes:
            console.emit_json(asdict(device))
        return console.EXIT_OK
    rows = [(c.name, c.processor, f"{1000 * c.reference_s:.1f}", c.measured) for c in classes]
    header = ("device class", "processor", "ms", "measured with")
    console.print_table(f"Device classes: {REFERENCE_NETWORK}", header, rows)
    for source in sorted({device.source for device in classes}):
        console.say(f"source: {source}")
    return console.EXIT_OK


def _notice(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
