"""The command ``splitnet codecs``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from splitnet.config import load_config
from splitnet.console import EXIT_OK, Parser, emit_json, print_table, progress, run, say

_EXAMPLE = """example:
  splitnet codecs --bundle digits.bundle --data digits --path stage2 --loss 0.005

SPEC of data is that of splitnet build; take calibration data, not test data.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Choose the codecs of a path for a target and print why; return the exit code."""
    parser = Parser(prog="splitnet codecs", description=main.__doc__, epilog=_EXAMPLE)
    parser.add_argument("--bundle", metavar="DIR", help="the bundle")
    parser.add_argument("--data", metavar="SPEC", help="calibration data")
    parser.add_argument("--path", metavar="NAME", help="the path whose tensors cross")
    parser.add_argument("--bytes", metavar="N", help="most bytes of a payload, on average")
    parser.add_argument("--error", metavar="X", help="most squared error, by the variance")
    parser.add_argument("--loss", metavar="X", help="most score lost (0.01 is one point)")
    parser.add_argument("--encode-ms", metavar="T", help="most time to encode and decode")
    parser.add_argument("--samples", metavar="N", help="samples used (128)")
    parser.add_argument("--seed", metavar="N", help="seed of the data (0)")
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")
    arguments = parser.parse_args(argv)
    return run(lambda: _choose(arguments), json_errors=arguments.json)


def _choose(arguments: argparse.Namespace) -> int:
    from splitnet.builder.codec_choice import CodecsConfig, choose_codecs
    from splitnet.builder.data import load_data

    options = {key: value for key, value in vars(arguments).items() if key != "json"}
    config = load_config(CodecsConfig, "codecs", options=options, environ=os.environ)
    with progress() as report:
        data = load_data(config.data, "calibration", config.seed)
        choice = choose_codecs(config, data, report)
    if arguments.json:
        rows = [
            {
                "codec": option.codec.config,
                "tables": {name: table.hex() for name, table in option.codec.tables.items()},
                "bytes": option.nbytes,
                "error": option.error,
                "time_s": option.time_s,
            }
            for option in choice.options
        ]
        emit_json({"tensors": rows, "reasons": list(choice.reasons)})
        return EXIT_OK
    print_table(
        f"codecs of {config.path}",
        ("tensor", "codec", "bytes", "error", "ms"),
        [
            (
                number,
                option.name,
                f"{option.nbytes:.0f}",
                f"{option.error:.2g}",
                f"{option.time_s * 1e3:.2f}",
            )
            for number, option in enumerate(choice.options)
        ],
    )
    for reason in choice.reasons:
        say(reason)
    return EXIT_OK
