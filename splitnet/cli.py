"""The dispatcher: ``splitnet COMMAND ...``; a command's modules are imported when it is chosen."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

import splitnet
from splitnet import console
from splitnet.config import nearest

COMMANDS: Mapping[str, tuple[str, str]] = {
    "cuts": ("splitnet.builder.cuts_cli:main", "show where a model can be cut, and what it costs"),
    "build": ("splitnet.builder.cli:main_build", "cut a model, train what is learned, write it"),
    "train": ("splitnet.builder.train_cli:main", "train a learned path by a recipe"),
    "inspect": ("splitnet.builder.cli:main_inspect", "show cuts, paths and plans of a bundle"),
    "verify": ("splitnet.builder.verify_cli:main_verify", "prove a bundle on this machine"),
    "profile": ("splitnet.builder.profile_cli:main", "measure a bundle's stages on this device"),
    "codecs": ("splitnet.builder.codec_cli:main", "choose the codecs of a path for a target"),
    "edge": ("splitnet.edge.cli:main", "answer frames on this device and through a worker"),
    "cloud": ("splitnet.cloud.cli:main", "serve the paths of a bundle"),
    "keys": ("splitnet.keys:main", "make, show and allow the keys of devices and workers"),
    "sim": ("splitnet.sim.cli:main", "emulate a link, simulate devices and a worker"),
}

EXAMPLE = """\
example:
  splitnet build --model examples.digits.model:network --data digits --out out/digits
  splitnet cloud serve --bundle out/digits
  splitnet edge run --bundle out/digits --connect tcp://127.0.0.1:5555 --source pages.npz
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the arguments behind the command's name to the command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        target = COMMANDS[arguments[0]][0]
        return console.run(lambda: _call(target, arguments[1:]))
    commands = "\n".join(f"  {name:<8} {text}" for name, (_, text) in COMMANDS.items())
    parser = console.Parser(
        prog="splitnet",
        usage="splitnet COMMAND ...",
        description=f"{splitnet.__doc__}\ncommands:\n{commands}",
        epilog=EXAMPLE,
    )
    parser.add_argument("--version", action="version", version=f"splitnet {splitnet.__version__}")
    if arguments and not arguments[0].startswith("-"):
        parser.error(f"unknown command {arguments[0]}{nearest(arguments[0], COMMANDS)}")
    parser.parse_args(arguments)
    parser.error("a COMMAND is missing")


def _call(target: str, arguments: Sequence[str]) -> int:
    module, _, function = target.partition(":")
    code: int = getattr(import_module(module), function)(arguments)
    return code
