"""The main job in one command: build a bundle, start cloud and edge, stream real pages of digits.

    python -m examples.digits.demo            # what `make demo` runs
    python -m examples.digits.demo --keep     # again, with the bundle of the last time

The edge process believes that it runs on a slow device (device.toml). It streams twice. First over
loopback, with the plan that a split is about: a learned bottleneck, with an early exit on the way.
Then over a link that is good, poor, dead and good again (road.py), and the policy chooses for every
page. The exit code is 0 only if in both streams every page was answered exactly once, none late, at
least 30 % by the cloud and 5 % by the exit, and the dead phase without the cloud (promises.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.live import Live

from examples.digits.promises import broken, broken_while_dead, punctuality, while_dead
from examples.digits.road import PHASES, write_link
from examples.digits.stream import Stream
from examples.digits.tables import by_phase, by_plan, live_view, progress_line
from splitnet import console as command
from splitnet.builder.data import load_data
from splitnet.errors import SplitnetError
from splitnet.processes import cloud_process, edge_process, shaper_process

HERE = Path(__file__).parent
RATE_HZ, DEADLINE_S = 20.0, 0.15

PLAN, PLAN_PAGES = "bottleneck@1+exits", 100
"""Of the first stream. The network is small: over a link the whole page or the device is faster,
so the policy of the second stream does not come to it by itself."""

POLICY, POLICY_PAGES = "greedy:floor=0.97", 520
"""Of the second stream. The floor lies above what the exit reaches alone, and below what it reaches
with the rest of the network behind it."""

SEED = 26
"""Of the poor phase: this one fades twice, and the link dies while the cloud is in use."""


def main() -> int:
    """Run the demo and return its exit code."""
    return command.run(_demo)


def _demo() -> int:
    from examples.digits.picture import draw  # first of all: it says so if matplotlib is missing

    options = _options()
    show = Console(highlight=False, soft_wrap=True)
    started_s = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.keep and (options.out / "bundle").exists()):
        show.rule("1  build: train, cut, learn a bottleneck and an exit, measure")
        _build(options.out / "bundle")
    _write_pages(options.out / "pages.npz")
    with _log_of_processes(show, options.out / "processes.log"):
        show.rule(f"2  {PLAN_PAGES} pages to a cloud next door: the plan {PLAN}")
        first = _over_loopback(show, options.out)
        show.rule(f"3  {POLICY_PAGES} pages over a link that fades and dies: {POLICY}")
        second = _over_the_link(show, options.out, options.seed)
    show.rule("4  what happened")
    show.print(by_plan(first, first.name))
    show.print(by_plan(second, second.name))
    show.print(by_phase(second, f"{second.name}, phase by phase"))
    if second.answers:
        draw(second, options.seed, options.out / "demo.png")
        show.print(f"picture: {options.out / 'demo.png'}")
    for stream in (first, second):
        show.print(f"{stream.name}: {punctuality(stream)}")
    show.print(while_dead(second))
    problems = [*broken(first), *broken(second), *broken_while_dead(second)]
    for problem in problems:
        show.print(f"[red]not as promised:[/] {problem}")
    if problems:
        show.print(f"what the processes said: {options.out / 'processes.log'}")
    verdict = "[red]failed[/]" if problems else "[green]every promise kept[/]"
    show.print(f"{verdict} ({time.monotonic() - started_s:.0f} s in all)")
    return command.EXIT_FAILED if problems else command.EXIT_OK


def _options() -> argparse.Namespace:
    parser = command.Parser(
        prog="demo", description="Real pages of digits over a split network and a bad link."
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--keep", action="store_true", help="use the bundle of the last time")
    parser.add_argument("--seed", type=int, default=SEED, help="of the poor link")
    options: argparse.Namespace = parser.parse_args()
    return options


def _build(bundle: Path) -> None:
    line = [sys.executable, "-m", "splitnet", "build", "--out", str(bundle), "--force"]
    line += ["--model", f"{HERE / 'model.py'}:pages", "--data", "digits"]
    line += ["--cuts", "stage1,stage2,stage3", "--exit-at", "stage1", "--bottleneck-at", "stage2"]
    if subprocess.run(line).returncode:
        raise SplitnetError("the build failed; it has said why above")


def _write_pages(file: Path) -> None:
    """Write test pages that neither the network nor bottleneck and exit have seen."""
    data = load_data("digits", "test", 0)
    assert data.y is not None
    np.savez(file, x=np.stack([data.load(i) for i in range(len(data))]), y=data.y)


@contextmanager
def _log_of_processes(show: Console, file: Path) -> Iterator[None]:
    """Let what the processes say go into a file instead of the live view; show it if one fails."""
    with file.open("w+") as log:
        kept = os.dup(sys.stderr.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
        try:
            yield
        except SplitnetError:
            log.seek(0)
            show.print(log.read(), style="red", highlight=False, markup=False)
            raise
        finally:
            os.dup2(kept, sys.stderr.fileno())
            os.close(kept)


def _over_loopback(show: Console, folder: Path) -> Stream:
    """Stream to a cloud next door with a fixed plan."""
    with cloud_process(folder / "bundle") as cloud:
        stream = Stream("next door", PLAN_PAGES, RATE_HZ, DEADLINE_S)
        _stream(show, folder, cloud.endpoint, f"fixed:plan={PLAN}", stream)
    return stream


def _over_the_link(show: Console, folder: Path, seed: int) -> Stream:
    """Stream over the link of `seed`, which begins with the stream; the policy decides."""
    with (
        cloud_process(folder / "bundle") as cloud,
        shaper_process(cloud.endpoint, *write_link(folder, seed)) as shaper,
    ):
        stream = Stream("over the link", POLICY_PAGES, RATE_HZ, DEADLINE_S, PHASES)
        _stream(show, folder, shaper.endpoint, POLICY, stream)
    return stream


def _stream(show: Console, folder: Path, endpoint: str, policy: str, stream: Stream) -> None:
    """Run an edge process, and show its answers as they come."""
    options = ["--source", str(folder / "pages.npz"), "--limit", str(stream.pages), "--queue", "8"]
    options += ["--rate", f"{RATE_HZ:g}", "--deadline-ms", f"{1000 * DEADLINE_S:g}"]
    options += ["--policy", policy, "--emulate-device", str(HERE / "device.toml")]
    with edge_process(folder / "bundle", endpoint, *options) as edge:
        if show.is_terminal:
            view = partial(live_view, stream)
            with Live(get_renderable=view, console=show, refresh_per_second=4, transient=True):
                stream.read(edge)
        else:
            stream.read(edge, lambda: show.print(progress_line(stream)))
    stream.exit_code = edge.process.returncode


if __name__ == "__main__":
    sys.exit(main())
