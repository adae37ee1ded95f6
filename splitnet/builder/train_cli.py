"""The command ``splitnet train``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

_EXAMPLE = """example:
  splitnet train examples/digits/entropic.toml --dry-run
  splitnet train examples/digits/entropic.toml --out results/digits
  splitnet build --model examples/digits/model.py:pages --data digits \\
      --learned results/digits --out digits.bundle
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Train a learned path, or exits, by a recipe; return the exit code."""
    parser = Parser(prog="splitnet train", description=main.__doc__, epilog=_EXAMPLE)
    parser.add_argument("recipe", metavar="RECIPE.toml", type=Path)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder of the results (results/RECIPE)"
    )
    parser.add_argument("--resume", action="store_true", help="go on after an interrupt")
    parser.add_argument(
        "--dry-run", action="store_true", help="one batch through every stage, then an estimate"
    )
    parser.add_argument("--device", metavar="D", help="cpu or cuda (what the recipe says)")
    parser.add_argument("--force", action="store_true", help="replace finished results at --out")
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")
    arguments = parser.parse_args(argv)
    return run(lambda: _train(arguments), json_errors=arguments.json)


def _train(arguments: argparse.Namespace) -> int:
    from splitnet.builder.train import train, try_out

    out = arguments.out or Path("results") / arguments.recipe.stem
    with progress() as report:
        if arguments.dry_run:
            return _show_trial(try_out(arguments.recipe, out, report, arguments.device), arguments)
        _check_place(out, arguments.resume, arguments.force)
        try:
            found = train(
                arguments.recipe, out, report, resume=arguments.resume, device=arguments.device
            )
        except KeyboardInterrupt:
            sys.stderr.write(f"error: interrupted; {_what_is_left(arguments.recipe, out)}\n")
            return EXIT_INTERRUPTED
    return _show_results(found, arguments)


def _what_is_left(recipe: Path, out: Path) -> str:
    from splitnet.training.results import CHECKPOINT, RESULTS

    if (out / RESULTS).exists():
        return f"the results in {out} are finished"
    if not (out / CHECKPOINT).exists():
        return "nothing was trained yet"
    return f"splitnet train {recipe} --out {out} --resume goes on from where it was"


def _check_place(out: Path, resume: bool, force: bool) -> None:
    from splitnet.training.results import CHECKPOINT, RESULTS

    if (out / RESULTS).exists() and not force:
        raise ConfigError(f"{out} holds finished results; give another --out, or --force")
    if (out / CHECKPOINT).exists() and not (resume or force):
        raise ConfigError(
            f"{out} holds a training that was interrupted; give --resume to go on with it, --force "
            "to begin again, or another --out"
        )


def _show_trial(found: dict[str, Any], arguments: argparse.Namespace) -> int:
    if arguments.json:
        emit_json(found)
        return EXIT_OK
    if "exits" in found:
        work = {name: f"{flops / found['flops']:.1%}" for name, flops in found["exits"].items()}
        print_table("work of the heads", ("exit", "share"), list(work.items()))
    rows: list[tuple[object, ...]] = [
        (name, f"{seconds / 60:.1f}") for name, seconds in found["stages_s"].items()
    ]
    rows.append(("all", f"{found['total_s'] / 60:.1f}"))
    print_table("expected time of each stage", ("stage", "minutes"), rows)
    if "latent" in found:
        _show_latent(found)
    _say_notes(found)
    return EXIT_OK


def _show_latent(found: dict[str, Any]) -> None:
    print_table(
        "payload before any training",
        ("level", "bytes"),
        [(name, f"{size:.0f}") for name, size in found["untrained_bytes"].items()],
    )
    flops = found["flops"]
    shape = "x".join(map(str, found["latent"][1:]))
    share = flops["encoder"] / flops["network"]
    say(f"latent {shape}; the encoder costs {share:.1%} of the network's work")


def _show_results(found: dict[str, Any], arguments: argparse.Namespace) -> int:
    if arguments.json:
        emit_json(found)
        return EXIT_OK
    whole = found["teacher"][1]
    what = "exits" if "exits" in found else "levels"
    title = f"{what} on the test samples"
    title += "" if whole is None else f" (teacher: {whole:.2%})"
    if "exits" in found:
        _show_exits(found, title)
    else:
        _show_levels(found, title)
    _say_notes(found)
    say(f"trained in {found['seconds']:.0f} s: {found['out']}")
    return EXIT_OK


def _show_exits(found: dict[str, Any], title: str) -> None:
    rows: list[tuple[object, ...]] = [
        (exit_["place"], f"{exit_['test']:.2%}", f"{exit_['flops'] / found['flops']:.1%}")
        for exit_ in found["exits"]
    ]
    rows.append(("the network", f"{found['whole'][1]:.2%}", ""))
    print_table(title, ("exit", "accuracy", "work"), rows)


def _show_levels(found: dict[str, Any], title: str) -> None:
    print_table(
        title,
        ("level", "accuracy", "bytes"),
        [
            (level["name"], f"{level['test'][0]:.2%}", f"{level['test'][1]:.1f}")
            for level in found["levels"]
        ],
    )


def _say_notes(found: dict[str, Any]) -> None:
    for note in found["notes"]:
        say(f"note: {note}")
