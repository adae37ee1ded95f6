"""Real processes over the sample bundle, and samples whose right answers are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.runtime.directory import open_bundle
from splitnet.runtime.preprocess import prepare
from splitnet.runtime.sessions import Graph

PATIENCE_S = 30.0
SAMPLES = 60

LIVE = ("--rate", "60", "--deadline-ms", "300", "--queue", "60", "--max-inflight", "60")
"""A live source whose frames may all wait: none is dropped, however busy this machine is."""


@dataclass(frozen=True)
class Ended:
    """What a process left behind."""

    code: int
    answers: list[dict[str, Any]]
    summary: dict[str, Any]
    stderr: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        return lines[0]


def ended(code: int, stdout: str, stderr: str) -> Ended:
    lines = [json.loads(line) for line in stdout.splitlines()]
    summary = lines.pop()["summary"] if lines and "summary" in lines[-1] else {}
    return Ended(code, lines, summary, stderr)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "splitnet", *map(str, arguments)]


Run = Callable[..., Ended]


@pytest.fixture
def splitnet() -> Run:
    """Run ``splitnet`` with arguments to its end."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Ended:
        done = subprocess.run(
            command(*arguments),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env={**os.environ, **(env or {})},
            check=False,
        )
        return ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def edge(splitnet: Run, sample_directory: Path, samples: Path) -> Run:
    """Run ``splitnet edge run`` to its end; options given replace the usual ones."""

    def run(endpoint: str = "tcp://127.0.0.1:9", *options: str | Path) -> Ended:
        usual = {"--bundle": sample_directory, "--connect": endpoint, "--source": samples}
        kept = [part for pair in usual.items() if pair[0] not in options for part in pair]
        return splitnet("edge", "run", *kept, *options)

    return run


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory, sample_directory: Path) -> Path:
    """Random images, and the labels that the whole model gives them."""
    file = tmp_path_factory.mktemp("samples") / "x.npz"
    x = np.random.default_rng(0).integers(0, 256, (SAMPLES, 32, 32), dtype=np.uint8)
    steps = open_bundle(sample_directory).contract.preprocess
    batch = np.concatenate([prepare(sample, steps) for sample in x])
    np.savez(file, x=x, y=Graph(sample_directory / "whole.onnx").run([batch])[0].argmax(axis=1))
    return file


def frames_of(answers: Sequence[dict[str, Any]]) -> list[int]:
    """Return the frames answered, sorted."""
    return sorted(answer["frame"] for answer in answers)
