"""Real processes of splitnet on this machine, for demos, benchmarks and tests.

Examples
--------
>>> with cloud_process(Path("bundle")) as cloud:  # doctest: +SKIP
...     with edge_process(Path("bundle"), cloud.endpoint, "--source", "pages.npz") as edge:
...         for answer in edge.answers():
...             print(answer["labels"])
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splitnet.errors import SplitnetError

STOP_S = 20.0
"""A process that has not drained by then is killed."""


@dataclass(slots=True)
class CloudProcess:
    """A running ``splitnet cloud serve``, ready for agents at `endpoint`."""

    process: subprocess.Popen[str]
    endpoint: str


@dataclass(slots=True)
class DirectoryProcess:
    """A running ``splitnet cloud directory``, ready for workers and edges at `endpoint`."""

    process: subprocess.Popen[str]
    endpoint: str


@dataclass(slots=True)
class EdgeProcess:
    """A running ``splitnet edge run``; `summary` is filled when it ends."""

    process: subprocess.Popen[str]
    summary: dict[str, Any] = field(default_factory=dict)

    def answers(self) -> Iterator[dict[str, Any]]:
        """Yield answers as they are handed over, until the process closes its output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "summary" in message:
                self.summary = message["summary"]
            else:
                yield message


@dataclass(slots=True)
class ShaperProcess:
    """A running ``splitnet sim shape``, ready at `endpoint`; `report` is filled when it ends."""

    process: subprocess.Popen[str]
    endpoint: str
    report: dict[str, Any] = field(default_factory=dict)


@contextmanager
def cloud_process(
    bundle: Path, *options: str, bind: str = "tcp://127.0.0.1:*"
) -> Iterator[CloudProcess]:
    """Run a cloud process until the block ends; it is ready when the block begins.

    Raises
    ------
    SplitnetError
        The process ended before it was ready; it has said why on stderr.
    """
    command = ["cloud", "serve", "--bundle", str(bundle), "--bind", bind, "--json", *options]
    with _process(command) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SplitnetError(f"the cloud process ended with code {process.wait(STOP_S)}")
        yield CloudProcess(process, json.loads(line)["endpoint"])


@contextmanager
def directory_process(*options: str, bind: str = "tcp://127.0.0.1:*") -> Iterator[DirectoryProcess]:
    """Run a directory until the block ends; it is ready when the block begins.

    Raises
    ------
    SplitnetError
        The process ended before it was ready; it has said why on stderr.
    """
    with _process(["cloud", "directory", "--bind", bind, "--json", *options]) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SplitnetError(f"the directory ended with code {process.wait(STOP_S)}")
        yield DirectoryProcess(process, json.loads(line)["endpoint"])


@contextmanager
def edge_process(bundle: Path, endpoint: str | None, *options: str) -> Iterator[EdgeProcess]:
    """Run an edge process with further `options` until the block ends.

    Parameters
    ----------
    endpoint
        The worker's; ``None`` if `options` name a directory.
    """
    command = ["edge", "run", "--bundle", str(bundle), *options]
    command += [] if endpoint is None else ["--connect", endpoint]
    with _process(command) as process:
        yield EdgeProcess(process)


@contextmanager
def shaper_process(to: str, *options: str) -> Iterator[ShaperProcess]:
    """Run a shaper in front of `to` until the block ends; it is ready when the block begins.

    Raises
    ------
    SplitnetError
        The process ended before it was ready; it has said why on stderr.
    """
    command = ["sim", "shape", "--listen", "127.0.0.1:0", "--to", to, "--json", *options]
    with _process(command) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SplitnetError(f"the shaper ended with code {process.wait(STOP_S)}")
        shaper = ShaperProcess(process, json.loads(line)["endpoint"])
        yield shaper
        process.terminate()
        for line in process.stdout:
            shaper.report = json.loads(line)["report"]


@contextmanager
def _process(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "splitnet", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
