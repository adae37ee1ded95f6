"""The command ``splitnet sim``: emulated links, and the machines in virtual time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from splitnet import console
from splitnet.config import nearest

COMMANDS: Mapping[str, tuple[str, str]] = {
    "shape": ("splitnet.sim.shaper_cli:main_shape", "put a slow link between two sockets"),
    "run": ("splitnet.sim.running:main_run", "play a scenario in virtual time"),
}

EXAMPLE = """\
example:
  splitnet sim shape --listen 127.0.0.1:6000 --to 127.0.0.1:5555 --rate 5mbit --delay 20ms
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the arguments behind the command's name to the command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        module, _, function = COMMANDS[arguments[0]][0].partition(":")
        code: int = getattr(import_module(module), function)(arguments[1:])
        return code
    commands = "\n".join(f"  {name:<8} {text}" for name, (_, text) in COMMANDS.items())
    parser = console.Parser(
        prog="splitnet sim",
        usage="splitnet sim COMMAND ...",
        description=f"Emulated links, and the machines in virtual time.\n\ncommands:\n{commands}",
        epilog=EXAMPLE,
    )
    parser.add_argument("command", metavar="COMMAND", help="one of those above")
    if arguments and not arguments[0].startswith("-"):
        parser.error(f"unknown command {arguments[0]}{nearest(arguments[0], COMMANDS)}")
    parser.parse_args(arguments)
    return console.EXIT_USAGE
