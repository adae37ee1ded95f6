"""The command ``splitnet keys``: who devices, workers and directories are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from splitnet import console

KINDS = ("device", "worker", "directory")

EXAMPLE = """\
example:
  splitnet keys new --kind worker --out keys
  splitnet keys new --kind device --out keys --name pi-7
  splitnet keys allow --list keys/devices.allow keys/pi-7.pub
  splitnet cloud serve --bundle bundle --bind 'tcp://*:5555' \\
      --key keys/worker.key --allow keys/devices.allow
  splitnet edge run --bundle bundle --connect tcp://10.0.0.7:5555 --source pages.npz \\
      --key keys/pi-7.key --server-key keys/worker.pub

NAME.key is secret and stays with its owner; NAME.pub may be shown to everybody.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``splitnet keys`` with `argv` and return the exit code."""
    parser = console.Parser(
        prog="splitnet keys",
        description="Make, show and allow the keys of devices, workers and directories.",
        epilog=EXAMPLE,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    new = commands.add_parser("new", help="make a pair of keys", epilog=EXAMPLE)
    new.set_defaults(parser=new, run=_new)
    new.add_argument("--kind", required=True, choices=KINDS, help="whose key it is")
    new.add_argument("--out", required=True, metavar="DIR", type=Path, help="where to write it")
    new.add_argument("--name", metavar="N", help="name of the files (default: the kind)")

    show = commands.add_parser("show", help="show what a key file says", epilog=EXAMPLE)
    show.set_defaults(parser=show, run=_show)
    show.add_argument("file", metavar="FILE", type=Path, help="a key file; the secret is not shown")

    allow = commands.add_parser("allow", help="let keys connect to a worker", epilog=EXAMPLE)
    allow.set_defaults(parser=allow, run=_allow)
    allow.add_argument("--list", required=True, metavar="FILE", type=Path, help="the allow-list")
    allow.add_argument("--kind", default="device", choices=KINDS, help="kind that files must have")
    allow.add_argument("keys", metavar="PUBLIC", nargs="+", help="a .pub file, or the key as text")

    for command in (new, show, allow):
        command.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    return console.run(lambda: arguments.run(arguments), json_errors=arguments.json)


def _new(arguments: argparse.Namespace) -> int:
    from splitnet.transport.keys import new_pair, write_pair

    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    pair = new_pair(arguments.kind, arguments.name or arguments.kind, created)
    secret, public = write_pair(pair, arguments.out)
    if arguments.json:
        files = {"secret": str(secret), "public": str(public)}
        console.emit_json({"key": pair.public.text, "files": files})
    else:
        console.say(
            f"{secret} is secret and stays with this {arguments.kind}; {public} is for everybody"
        )
    return console.EXIT_OK


def _show(arguments: argparse.Namespace) -> int:
    from splitnet.transport.keys import show_key

    key = show_key(arguments.file)
    fields = {"kind": key.kind, "name": key.name, "public": key.text, "created": key.created}
    if arguments.json:
        console.emit_json(fields)
    else:
        console.say("\n".join(f"{name:<8} {value}" for name, value in fields.items()))
    return console.EXIT_OK


def _allow(arguments: argparse.Namespace) -> int:
    from splitnet.transport.allow_list import allow
    from splitnet.transport.keys import read_public

    keys = [read_public(text, arguments.kind, "PUBLIC") for text in arguments.keys]
    added = allow(arguments.list, keys)
    if arguments.json:
        console.emit_json({"added": [key.text for key in added], "given": len(keys)})
    for key in [] if arguments.json else keys:
        what = "added" if key in added else "is there already"
        console.say(f"{arguments.list}: {key.text} {key.name} {what}")
    return console.EXIT_OK
