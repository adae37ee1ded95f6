"""The command ``splitnet cloud``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitnet import console
from splitnet.cloud.config import CloudConfig
from splitnet.config import load_config

EXAMPLE = """\
example:
  splitnet cloud serve --bundle out/digits --bind tcp://127.0.0.1:5555

One line on stdout says that devices may connect, and where: the port 0 lets the system choose one.
Every option may also stand in the environment (SPLITNET_CLOUD_MAX_BATCH) or in the table [cloud]
of a TOML file; the command line wins. SIGTERM answers what is queued and ends.
"""

_OPTIONS: Mapping[str, tuple[str, str]] = {
    "bundle": ("DIR", "bundle that both sides share"),
    "bind": ("ENDPOINT", "where to listen (default: tcp://127.0.0.1:5555)"),
    "max_batch": ("N", "requests computed together at most (default: 8)"),
    "threads": ("N", "threads that a segment may use (default: 1)"),
    "max_request_bytes": ("N", "largest payload of a request (default: 4194304)"),
    "max_chunk_bytes": ("N", "largest payload of a message (default: 262144)"),
    "max_sessions": ("N", "devices served at once (default: 1024)"),
    "send_queue_bytes": ("N", "bound on what waits for one device (default: 16777216)"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``splitnet cloud`` with `argv` and return the exit code."""
    parser = console.Parser(
        prog="splitnet cloud",
        description="The cloud: finish what devices begin.",
        epilog=EXAMPLE,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="serve the paths of a bundle in one process",
        description="Serve the paths of a bundle in one process.",
        epilog=EXAMPLE,
    )
    serve.set_defaults(parser=serve)
    for name, (value, text) in _OPTIONS.items():
        serve.add_argument("--" + name.replace("_", "-"), metavar=value, help=text)
    serve.add_argument("--config", metavar="FILE", type=Path, help="TOML file with a table [cloud]")
    serve.add_argument("--json", action="store_true", help="print the ready line as JSON")
    serve.add_argument("-v", "--verbose", action="count", default=0, help="log more to stderr")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _serve(arguments), json_errors=arguments.json)


def _serve(arguments: argparse.Namespace) -> int:
    console.setup_logging(arguments.verbose)
    given: dict[str, Any] = {name: getattr(arguments, name) for name in _OPTIONS}
    config = load_config(
        CloudConfig, "cloud", options=given, environ=os.environ, file=arguments.config
    )
    from splitnet.cloud.serving import serve

    serve(config, console.emit_json if arguments.json else _say_ready)
    return console.EXIT_OK


def _say_ready(line: Mapping[str, Any]) -> None:
    paths = ", ".join(line["paths"])
    sys.stdout.write(f"ready at {line['endpoint']}: {line['bundle']} with the paths {paths}\n")
    sys.stdout.flush()
