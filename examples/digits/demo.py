"""The main job in one command: build a bundle, start cloud and edge, stream real pages of digits.

    python examples/digits/demo.py            # what `make demo` runs
    python examples/digits/demo.py --keep     # again, with the bundle of the last time

The edge process believes that it runs on a device `FACTOR` times slower than this machine. On
loopback the cloud is next door, so a policy that looks for the least latency would send every page
whole; the demo follows the plan that a real link asks for: a learned bottleneck, with an early exit
on the way. It ends with exit code 0 only if every page was answered exactly once, none late, at
least 30 % by the cloud and 5 % by the exit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from splitnet.builder.data import load_data
from splitnet.processes import EdgeProcess, cloud_process, edge_process

HERE = Path(__file__).parent
PLAN = "bottleneck@1+exits"
FACTOR = 40
MIN_CLOUD_SHARE, MIN_EXIT_SHARE = 0.30, 0.05


def main() -> int:
    """Run the demo and return its exit code."""
    options = _options()
    console = Console()
    started_s = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    bundle, source = options.out / "bundle", options.out / "pages.npz"
    if not (options.keep and bundle.exists()):
        console.rule("1  build: train, cut, learn a bottleneck and an exit, measure")
        _build(bundle)
    _write_pages(source, options.pages)
    console.rule("2  a cloud process and an edge process")
    edge_options = ["--source", str(source), "--policy", f"fixed:plan={PLAN}", "--queue", "8"]
    edge_options += ["--rate", str(options.rate), "--limit", str(options.pages)]
    edge_options += ["--deadline-ms", str(options.deadline_ms), "--emulate-device", str(FACTOR)]
    with (
        cloud_process(bundle) as cloud,
        edge_process(bundle, cloud.endpoint, *edge_options) as edge,
    ):
        console.print(f"cloud on {cloud.endpoint}; plan {PLAN}; a device {FACTOR} times slower")
        console.rule(f"3  {options.pages} pages at {options.rate:g}/s, {options.deadline_ms:g} ms")
        answers, summary = _stream(console, edge, options.pages)
    console.rule("4  what happened")
    if answers:
        console.print(_summary_table(answers))
    problems = _problems(answers, summary, options.pages)
    if edge.process.returncode:
        problems.append(f"the edge process ended with code {edge.process.returncode}")
    for problem in problems:
        console.print(f"[red]not as promised:[/] {problem}")
    took_s = time.monotonic() - started_s
    verdict = "[red]failed[/]" if problems else "[green]every page answered once, none late[/]"
    console.print(f"{verdict} ({took_s:.0f} s in all)")
    return 1 if problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Real pages of digits over a split network.")
    parser.add_argument("--pages", type=int, default=300)
    parser.add_argument("--rate", type=float, default=20.0, help="pages a second")
    parser.add_argument("--deadline-ms", type=float, default=150.0)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--keep", action="store_true", help="use the bundle of the last time")
    return parser.parse_args()


def _build(bundle: Path) -> None:
    command = [sys.executable, "-m", "splitnet", "build", "--out", str(bundle), "--force"]
    command += ["--model", f"{HERE / 'model.py'}:pages", "--data", "digits"]
    command += ["--cuts", "stage1,stage2,stage3", "--exit-at", "stage1"]
    command += ["--bottleneck-at", "stage2"]
    subprocess.run(command, check=True)


def _write_pages(file: Path, pages: int) -> None:
    """Write test pages that neither the network nor bottleneck and exit have seen."""
    data = load_data("digits", "test", 0)
    assert data.y is not None
    rows = [i % len(data) for i in range(pages)]
    np.savez(file, x=np.stack([data.load(i) for i in rows]), y=data.y[rows])


def _stream(
    console: Console, edge: EdgeProcess, pages: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Show the answers of the edge process as they come; return them and its summary."""
    answers: list[dict[str, Any]] = []
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        for answer in edge.answers():
            answers.append(answer)
            if console.is_terminal:
                live.update(_live_view(answers, pages))
            elif len(answers) % 50 == 0:
                shares = Counter(answer["answered_by"] for answer in answers)
                console.print(f"{len(answers)} pages: {dict(shares)}", highlight=False)
    return answers, edge.summary


def _live_view(answers: list[dict[str, Any]], pages: int) -> Group:
    latest = Table("page", "by", "right", "bytes", "ms", "where the time went, in ms")
    for answer in answers[-8:]:
        longest = sorted(answer["stages_ms"].items(), key=lambda item: -item[1])[:3]
        latest.add_row(
            str(answer["frame"]),
            answer["answered_by"],
            f"{64 * answer['score']:.0f}/64",
            str(answer["uplink_bytes"]),
            f"{answer['latency_ms']:.0f}",
            ", ".join(f"{stage} {time_ms:.0f}" for stage, time_ms in longest),
        )
    return Group(f"{len(answers)} of {pages} pages", latest, _summary_table(answers))


def _summary_table(answers: list[dict[str, Any]]) -> Table:
    table = Table("by", "plan", "share", "right", "bytes", "p50 ms", "p95 ms", "late")
    ways = sorted({(answer["answered_by"], answer["plan"]) for answer in answers})
    for way in [*ways, None]:
        rows = [a for a in answers if way in (None, (a["answered_by"], a["plan"]))]
        if not rows:
            continue
        latency_ms = np.array([a["latency_ms"] for a in rows])
        table.add_row(
            *(way or ("all", "")),
            f"{len(rows) / len(answers):.1%}",
            f"{np.mean([a['score'] for a in rows]):.2%}",
            f"{np.mean([a['uplink_bytes'] for a in rows]):.0f}",
            f"{np.percentile(latency_ms, 50):.1f}",
            f"{np.percentile(latency_ms, 95):.1f}",
            str(sum(a["late"] for a in rows)),
            end_section=way == ways[-1],
        )
    return table


def _problems(answers: list[dict[str, Any]], summary: dict[str, Any], pages: int) -> list[str]:
    """Return what the run did not keep of its promises."""
    problems = []
    frames = Counter(answer["frame"] for answer in answers)
    unanswered = [frame for frame in range(pages) if frames[frame] != 1]
    if unanswered or len(answers) != pages:
        problems.append(f"pages not answered exactly once: {unanswered[:10]}")
    if summary.get("answers") != len(answers):
        problems.append(f"the summary counts {summary.get('answers')} answers of {len(answers)}")
    late = [answer["frame"] for answer in answers if answer["late"]]
    if late:
        problems.append(f"late pages: {late[:10]}")
    shares = Counter(answer["answered_by"] for answer in answers)
    for by, least in (("cloud", MIN_CLOUD_SHARE), ("exit", MIN_EXIT_SHARE)):
        if shares[by] < least * pages:
            problems.append(f"{shares[by]} of {pages} pages by the {by}, fewer than {least:.0%}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
