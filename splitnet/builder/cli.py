"""The commands ``splitnet build`` and ``splitnet inspect``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitnet.config import load_config
from splitnet.console import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    Parser,
    emit_json,
    print_table,
    progress,
    run,
    say,
)
from splitnet.errors import ConfigError

if TYPE_CHECKING:
    from splitnet.bundle import Bundle

_BUILD_EXAMPLE = """example:
  splitnet build --model examples/digits/model.py:pages --data digits \\
      --cuts stage1,stage2,stage3 --out digits.bundle

SPEC of a model: module:callable, path/to/file.py:callable, path/to/model.onnx or
path/to/program.pt2.
SPEC of data: an image folder, an .npz file with x and y (both with a range such as [:2400]
behind, if need be), digits, or random, for a proof without data.
"""


def main_build(argv: Sequence[str] | None = None) -> int:
    """Build a bundle from a model and data; return the exit code."""
    parser = Parser(prog="splitnet build", description=main_build.__doc__, epilog=_BUILD_EXAMPLE)
    parser.add_argument("--model", metavar="SPEC", help="the model to split")
    parser.add_argument("--data", metavar="SPEC", help="training data, split if it is alone")
    parser.add_argument("--calib", metavar="SPEC", help="calibration data")
    parser.add_argument("--test", metavar="SPEC", help="test data")
    parser.add_argument("--out", metavar="DIR", help="the bundle's new directory")
    parser.add_argument(
        "--input", metavar="A,B,...", help="forms of the inputs, such as int64:1xT=16"
    )
    parser.add_argument("--cuts", metavar="A,B,...", help="module paths or ids of cuts")
    parser.add_argument(
        "--codec", metavar="HOW", help="codecs of exact paths: default, auto, or one more"
    )
    parser.add_argument("--exit-at", metavar="A,B,...", help="cuts of exits, input, auto or none")
    parser.add_argument(
        "--exit-heads", metavar="SPEC", help="trained heads of these exits, or results"
    )
    parser.add_argument("--bottleneck-at", metavar="A", help="cut of the bottleneck, auto or none")
    parser.add_argument(
        "--learned", metavar="DIR,...", help="results of splitnet train that become learned paths"
    )
    parser.add_argument("--max-boundaries", metavar="N", help="most interior boundaries (12)")
    parser.add_argument(
        "--preprocess",
        metavar="STEPS",
        help="for instance resize=256,crop=224,scale=255,layout=chw",
    )
    parser.add_argument(
        "--postprocess",
        metavar="STEP",
        help="softmax, top-k=5 or nms=score:0.3,iou:0.45,max:100,boxes:yolox, for small replies",
    )
    parser.add_argument(
        "--int8-heads",
        action="store_true",
        default=None,
        help="also learned paths whose heads run in whole numbers, calibrated on --calib",
    )
    parser.add_argument("--epochs", metavar="N", help="most epochs of each training (6)")
    parser.add_argument("--train-seconds", metavar="S", help="most time of each training (120)")
    parser.add_argument(
        "--exit-loss", metavar="X", help="score that exits may lose on calibration data (0.005)"
    )
    parser.add_argument(
        "--exit-risk", metavar="X", help="certify that exits lose at most this part of the score"
    )
    parser.add_argument("--exit-confidence", metavar="X", help="confidence of that (0.95)")
    parser.add_argument(
        "--exit-rule", metavar="NAME", help="learn-then-test (default) or conformal, on average"
    )
    parser.add_argument(
        "--exit-measure", metavar="NAME", help="max-softmax (default), entropy or margin"
    )
    parser.add_argument(
        "--stop-loss",
        metavar="X",
        help="score that stops may lose on calibration data, against all parts (0.005)",
    )
    parser.add_argument(
        "--stop-risk", metavar="X", help="certify that stops lose at most this part of the score"
    )
    parser.add_argument("--stop-confidence", metavar="X", help="confidence of that (0.95)")
    parser.add_argument(
        "--stop-rule", metavar="NAME", help="learn-then-test (default) or conformal, on average"
    )
    parser.add_argument(
        "--interest", metavar="A,B,...", help="labels of interest: a prefilter skips what has none"
    )
    parser.add_argument(
        "--interest-at", metavar="A", help="cut of the prefilter, input or auto (the first cut)"
    )
    parser.add_argument(
        "--interest-recall", metavar="X", help="certify this share of what is of interest (0.99)"
    )
    parser.add_argument("--interest-confidence", metavar="X", help="confidence of that (0.95)")
    parser.add_argument("--threads", metavar="N", help="threads of trainings and fits (1)")
    parser.add_argument("--seed", metavar="N", help="seed of splits and trainings (0)")
    parser.add_argument(
        "--force", action="store_true", default=None, help="replace the bundle at --out"
    )
    _add_common(parser)
    arguments = parser.parse_args(argv)
    return run(lambda: _build(arguments), json_errors=arguments.json)


def main_inspect(argv: Sequence[str] | None = None) -> int:
    """Show cuts, paths, exits, plans and profiles of a bundle; return the exit code."""
    parser = Parser(
        prog="splitnet inspect",
        description=main_inspect.__doc__,
        epilog="example:\n  splitnet inspect digits.bundle --plot p.png --device raspberry-pi-5",
    )
    parser.add_argument("bundle", metavar="DIR", type=Path)
    parser.add_argument(
        "--plot",
        metavar="FILE",
        type=Path,
        help="draw accuracy against bytes, and the best plan for each bandwidth and deadline",
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="draw for this profile of the bundle or this device class (the first profile)",
    )
    _add_common(parser)
    arguments = parser.parse_args(argv)
    return run(lambda: _inspect(arguments), json_errors=arguments.json)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")


def _build(arguments: argparse.Namespace) -> int:
    from splitnet.builder.build import BuildConfig, build
    from splitnet.builder.inspection import show, tables

    options = {key: value for key, value in vars(arguments).items() if key != "json"}
    config = load_config(BuildConfig, "build", options=options, environ=os.environ)
    try:
        with progress() as report:
            summary = build(config, report)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"error: interrupted; nothing was written to {config.out}, the same command goes on "
            "after the steps that were finished\n"
        )
        return EXIT_INTERRUPTED
    if arguments.json:
        emit_json(summary)
        return EXIT_OK
    show(tables(summary)[:-1], print_table)
    for note in summary["notes"]:
        say(f"note: {note}")
    say(f"built {summary['out']} in {summary['seconds']:.0f} s")
    return EXIT_OK


def _inspect(arguments: argparse.Namespace) -> int:
    from splitnet.builder.inspection import describe, show, tables
    from splitnet.runtime.directory import open_bundle

    if arguments.device is not None and arguments.plot is None:
        raise ConfigError("--device says what to draw for: give --plot FILE too")
    bundle = open_bundle(arguments.bundle)
    content = describe(bundle)
    if arguments.plot is not None:
        content["map"] = _plot(bundle, arguments.device, arguments.plot)
    if arguments.json:
        emit_json(content)
    else:
        show(tables(content), print_table)
        if arguments.plot is not None:
            say(f"drawn for {content['map']['device']}: {arguments.plot}")
    return EXIT_OK


def _plot(bundle: Bundle, device: str | None, file: Path) -> dict[str, Any]:
    """Draw the plans of a bundle for a device, and return what the picture says."""
    from splitnet.builder.plan_map import RTT_S, describe_map, known_device, plan_map
    from splitnet.builder.plotting import plot_plans

    profile = known_device(bundle, device)
    found = plan_map(bundle, profile)
    name = bundle.contract.name
    plot_plans(file, f"{name} on {profile.device}, round trip {1e3 * RTT_S:g} ms", found)
    return {"device": profile.device, "rtt_ms": 1e3 * RTT_S, **describe_map(found)}
