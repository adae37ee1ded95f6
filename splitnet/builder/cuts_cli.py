"""The command ``splitnet cuts``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from splitnet.console import EXIT_OK, Parser, emit_json, print_table, run, say
from splitnet.errors import ConfigError

_EXAMPLE = """example:
  splitnet cuts model.onnx
  splitnet cuts net.py:build --input float32:1x3x224x224 --device-gflops 8 --cloud-gflops 400 \\
      --mbps 20 --rtt-ms 30

MODEL: module:callable, path/to/file.py:callable, path/to/model.onnx or path/to/program.pt2.
An input is dtype:1xAxB, for one sample; a dynamic size has a name, as in int64:1xT=16.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Show every place where a model can be cut, and what each costs; return the exit code."""
    parser = Parser(prog="splitnet cuts", description=main.__doc__, epilog=_EXAMPLE)
    parser.add_argument("model", metavar="MODEL", help="the model to look at")
    parser.add_argument("--input", metavar="A,B,...", help="form of each input, in order")
    parser.add_argument("--device-gflops", metavar="X", type=float, help="speed of the device")
    parser.add_argument("--cloud-gflops", metavar="X", type=float, help="speed of the cloud")
    parser.add_argument("--mbps", metavar="X", type=float, help="uplink, Mbit/s")
    parser.add_argument("--rtt-ms", metavar="X", type=float, help="round trip (0)")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw bytes against work")
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")
    arguments = parser.parse_args(argv)
    return run(lambda: _cuts(arguments), json_errors=arguments.json)


def _cuts(arguments: argparse.Namespace) -> int:
    from splitnet.builder.forms import parse_form
    from splitnet.builder.placement import Setting
    from splitnet.builder.survey import best_rows, cut_rows, plot_cuts, survey

    speeds = (arguments.device_gflops, arguments.cloud_gflops, arguments.mbps)
    setting, rtt_ms = None, arguments.rtt_ms
    if any(given is not None for given in (*speeds, rtt_ms)):
        if None in speeds:
            raise ConfigError(
                "--device-gflops, --cloud-gflops and --mbps are given together, --rtt-ms with them"
            )
        device, cloud, mbps = speeds
        setting = Setting(1e9 * device, 1e9 * cloud, 1e6 * mbps, (rtt_ms or 0.0) / 1e3)
    texts = filter(None, (arguments.input or "").split(","))
    found = survey(arguments.model, [parse_form(text) for text in texts], setting)
    if arguments.plot is not None:
        plot_cuts(found, arguments.plot)
    if arguments.json:
        emit_json(found)
        return EXIT_OK
    print_table(
        f"{found['model']}: cuts (boundaries: those that a bundle would keep)",
        ("cut", "tensors", "bytes", "MFLOPs before", "after", "done", "boundary"),
        cut_rows(found),
    )
    if setting is not None:
        header = ("best", "cut", "device ms", "send ms", "cloud ms", "latency ms", "period ms")
        print_table("best cuts for these speeds", header, best_rows(found))
    usable = sum(not cut["barred"] for cut in found["cuts"])
    say(f"{len(found['cuts'])} cuts, a boundary may be at {usable}")
    return EXIT_OK
