"""The command ``splitnet cloud``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from splitnet import console
from splitnet.cloud.config import CloudConfig, DirectorySettings
from splitnet.config import load_config

EXAMPLE = """\
example:
  splitnet cloud serve --bundle out/digits --bind tcp://127.0.0.1:5555

One line on stdout says that devices may connect, and where: the port 0 lets the system choose one.
Every option may also stand in the environment (SPLITNET_CLOUD_MAX_BATCH) or in the table [cloud]
of a TOML file; the command line wins. SIGTERM answers what is queued and ends.

Several workers on Ray Serve, found by devices through a directory:
  splitnet cloud directory --bind tcp://127.0.0.1:5550
  splitnet cloud serve --ray --replicas 2 --bundle out/digits --bind tcp://127.0.0.1:5600-5699 \\
      --directory tcp://127.0.0.1:5550
"""

DIRECTORY_EXAMPLE = """\
example:
  splitnet cloud directory --bind tcp://127.0.0.1:5550

Workers announce themselves with --directory ENDPOINT, devices ask with the same option. Nothing is
stored: a directory that is started again knows the workers after a third of their lease. Every
option may also stand in the environment (SPLITNET_DIRECTORY_BIND) or in the table [directory] of
a TOML file; the command line wins.
"""

_OPTIONS: Mapping[str, tuple[str, str]] = {
    "bundle": ("DIR", "bundle that both sides share"),
    "bind": ("ENDPOINT", "where to listen, or a range of ports (default: tcp://127.0.0.1:5555)"),
    "max_batch": ("N", "requests computed together at most (default: 8)"),
    "threads": ("N", "threads that a segment may use (default: 1)"),
    "max_request_bytes": ("N", "largest payload of a request (default: 4194304)"),
    "max_chunk_bytes": ("N", "largest payload of a message (default: 262144)"),
    "max_sessions": ("N", "devices served at once (default: 1024)"),
    "send_queue_bytes": ("N", "bound on what waits for one device (default: 16777216)"),
    "key": ("FILE", "secret key of this worker (splitnet keys new --kind worker)"),
    "allow": ("FILE", "list of the public keys that may connect (splitnet keys allow)"),
    "directory": ("ENDPOINT", "directory to announce this worker to"),
    "directory_key": ("KEY", "public key of the directory: a file, or the key itself"),
    "advertise": ("ENDPOINT", "tcp://HOST[:PORT] at which devices reach what is bound"),
    "lease_s": ("N", "the directory forgets a silent worker after this (default: 10)"),
    "replicas": ("N", "workers that Ray Serve runs, with --ray (default: 1)"),
}

_DIRECTORY_OPTIONS: Mapping[str, tuple[str, str]] = {
    "bind": ("ENDPOINT", "where to listen (default: tcp://127.0.0.1:5550)"),
    "max_workers": ("N", "workers remembered at once (default: 4096)"),
    "max_lease_s": ("N", "longer leases are refused (default: 60)"),
    "key": ("FILE", "secret key of this directory (splitnet keys new --kind directory)"),
    "allow": ("FILE", "list of the public keys that may connect (splitnet keys allow)"),
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
        help="serve the paths of a bundle, in one process or on Ray Serve",
        description="Serve the paths of a bundle, in one process or on Ray Serve.",
        epilog=EXAMPLE,
    )
    serve.add_argument("--ray", action="store_true", help="run the workers on Ray Serve")
    _finish(serve, _OPTIONS, "cloud", _serve)
    directory = commands.add_parser(
        "directory",
        help="tell devices where the workers are",
        description="Tell devices where the workers are.",
        epilog=DIRECTORY_EXAMPLE,
    )
    _finish(directory, _DIRECTORY_OPTIONS, "directory", _directory)
    arguments = parser.parse_args(argv)
    return console.run(lambda: arguments.run(arguments), json_errors=arguments.json)


def _finish(
    command: argparse.ArgumentParser,
    options: Mapping[str, tuple[str, str]],
    table: str,
    run: Callable[[argparse.Namespace], int],
) -> None:
    """Add the options of a command's settings and those that every command has."""
    for name, (value, text) in options.items():
        command.add_argument("--" + name.replace("_", "-"), metavar=value, help=text)
    command.add_argument(
        "--config", metavar="FILE", type=Path, help=f"TOML file with a table [{table}]"
    )
    command.add_argument("--json", action="store_true", help="print the ready line as JSON")
    command.add_argument("-v", "--verbose", action="count", default=0, help="log more to stderr")
    command.set_defaults(parser=command, run=run)


def _serve(arguments: argparse.Namespace) -> int:
    console.setup_logging(arguments.verbose)
    given: dict[str, Any] = {name: getattr(arguments, name) for name in _OPTIONS}
    config = load_config(
        CloudConfig, "cloud", options=given, environ=os.environ, file=arguments.config
    )
    ready = console.emit_json if arguments.json else _say_ready
    if arguments.ray:
        from splitnet.cloud.ray_host import serve_on_ray

        serve_on_ray(config, ready)
    else:
        from splitnet.cloud.serving import serve

        serve(config, ready)
    return console.EXIT_OK


def _directory(arguments: argparse.Namespace) -> int:
    console.setup_logging(arguments.verbose)
    given: dict[str, Any] = {name: getattr(arguments, name) for name in _DIRECTORY_OPTIONS}
    settings = load_config(
        DirectorySettings, "directory", options=given, environ=os.environ, file=arguments.config
    )
    from splitnet.cloud.directory import run_directory

    run_directory(settings, console.emit_json if arguments.json else _say_directory_ready)
    return console.EXIT_OK


def _say_ready(line: Mapping[str, Any]) -> None:
    endpoints = ", ".join(line.get("endpoints", [line["endpoint"]]))
    paths = ", ".join(line["paths"])
    console.say(f"ready at {endpoints}: {line['bundle']} with the paths {paths}")


def _say_directory_ready(line: Mapping[str, Any]) -> None:
    console.say(f"directory ready at {line['endpoint']}")
