"""Networks with several inputs, and cuts that several tensors cross, through real processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder.build import BuildConfig, build
from splitnet.console import Silent
from splitnet.processes import cloud_process
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.sessions import Graph
from splitnet.training.threads import math_threads
from tests.end_to_end.conftest import Run, frames_of

NETWORKS = Path(__file__).parents[1] / "builder" / "networks.py"
COUNT = 6


@dataclass(frozen=True)
class Case:
    """A bundle, and samples with the labels that the whole model gives them."""

    bundle: Path
    source: Path
    arrays: dict[str, NDArray[Any]]

    def paths(self) -> list[str]:
        """Return the interior paths that several tensors cross."""
        contract = open_bundle(self.bundle).contract
        return [p.id for p in contract.paths if p.id != "input" and len(p.hops[0].tensors) > 1]


def make(folder: Path, network: str, forms: tuple[str, ...], arrays: dict[str, Any]) -> Case:
    """Build a bundle of a network of networks.py from random data."""
    config = BuildConfig(
        f"{NETWORKS}:{network}", "random:8", folder / "bundle", input=forms, max_boundaries=2
    )
    with math_threads(1):
        build(config, Silent())
    answers = Graph(folder / "bundle" / "whole.onnx").run(list(arrays.values()))
    np.savez(folder / "samples.npz", **arrays, y=answers[0].argmax(-1))
    return Case(folder / "bundle", folder / "samples.npz", arrays)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Two inputs, an image and whole numbers; float32 and bool cross its cuts."""
    chance = np.random.default_rng(1)
    arrays = {
        "image": chance.standard_normal((COUNT, 3, 16, 16)).astype(np.float32),
        "marks": chance.integers(0, 5, (COUNT, 8)),
    }
    folder = tmp_path_factory.mktemp("masked")
    return make(folder, "masked", ("float32:1x3x16x16", "int64:1x8"), arrays)


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Two towers: two float32 tensors cross every early cut."""
    x = np.random.default_rng(2).standard_normal((COUNT, 3, 16, 16)).astype(np.float32)
    folder = tmp_path_factory.mktemp("branches")
    return make(folder, "branches", ("float32:1x3x16x16",), {"x": x})


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A language model in small, built for 6 tokens and asked with 9: so many answers come back."""
    ids = np.random.default_rng(3).integers(0, 11, (COUNT, 9))
    return make(tmp_path_factory.mktemp("tokens"), "tokens", ("int64:1xT=6",), {"x": ids})


@pytest.mark.slow
def test_an_output_of_dynamic_size(tokens: Case, edge: Run) -> None:
    contract = open_bundle(tokens.bundle).contract
    assert contract.outputs[0].dims == ("N", "T", 11)
    assert open_bundle(tokens.bundle).advice.sizes["T"] == 6
    interior = next(path.id for path in contract.paths if path.id != "input")
    source = ("--bundle", tokens.bundle, "--source", tokens.source)
    with cloud_process(tokens.bundle) as cloud:
        for policy in ("greedy", "fixed:plan=input@0", f"fixed:plan={interior}@0"):
            done = edge(cloud.endpoint, *source, "--policy", policy)
            assert done.code == 0, done.stderr
            assert frames_of(done.answers) == list(range(COUNT))
            assert done.summary["accuracy"] == 1.0
            assert all(len(answer["labels"]) == 9 for answer in done.answers)


@pytest.mark.parametrize("network", ["masked", pytest.param("branches", marks=pytest.mark.slow)])
@pytest.mark.parametrize("level", [0, 1])
def test_a_cut_that_two_tensors_cross(
    network: str, level: int, edge: Run, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(network)
    path = case.paths()[0]
    policy = ("--policy", f"fixed:plan={path}@{level}")
    with cloud_process(case.bundle) as cloud:
        done = edge(cloud.endpoint, "--bundle", case.bundle, "--source", case.source, *policy)
    assert done.code == 0, done.stderr
    assert done.summary["answered_by"] == {"cloud": COUNT}
    assert frames_of(done.answers) == list(range(COUNT))
    assert done.summary["accuracy"] >= (1.0 if level == 0 else 0.6)


@pytest.mark.parametrize("plan", ["input@0", "input@1", "device:end"])
def test_two_inputs_by_name(masked: Case, edge: Run, plan: str) -> None:
    policy = ("--policy", f"fixed:plan={plan}")
    with cloud_process(masked.bundle) as cloud:
        done = edge(cloud.endpoint, "--bundle", masked.bundle, "--source", masked.source, *policy)
    assert done.code == 0, done.stderr
    assert done.summary["answered_by"] == {
        plan.partition(":")[0] if ":" in plan else "cloud": COUNT
    }
    assert done.summary["accuracy"] >= (0.6 if plan == "input@1" else 1.0)


def test_two_inputs_by_order_verified_and_profiled(
    masked: Case, splitnet: Run, tmp_path: Path
) -> None:
    image, marks = masked.arrays.values()
    np.savez(tmp_path / "data.npz", x=image, x1=marks)
    data = ("--data", tmp_path / "data.npz")
    verified = splitnet("verify", masked.bundle, *data, "--json")
    assert verified.code == 0, verified.stderr
    profiled = splitnet("profile", masked.bundle, "--device", "here", *data, "--json")
    assert profiled.code == 0, profiled.stderr
    profile = open_bundle(masked.bundle).advice.profiles[-1]
    assert profile.device == "here" and "prepare" in profile.stages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"marks": None}, "no input 'marks', only 'image'; the network takes 'image', 'marks'"),
        ({"mark": 0}, "unknown input 'mark'"),
        ({"marks": np.zeros((COUNT, 9), np.int64)}, "'marks' has shape (1, 9)"),
        ({"marks": np.zeros((COUNT, 8), np.float32)}, "'marks' is float32, int64 is needed"),
    ],
    ids=["missing", "unknown", "shape", "dtype"],
)
def test_an_input_that_does_not_fit_is_one_line(
    masked: Case, edge: Run, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    arrays = {**masked.arrays, **change}
    if "mark" in change:
        arrays["mark"] = arrays["marks"]
    np.savez(tmp_path / "bad.npz", **{n: a for n, a in arrays.items() if a is not None})
    done = edge("tcp://127.0.0.1:9", "--bundle", masked.bundle, "--source", tmp_path / "bad.npz")
    assert done.code == 1
    assert message in done.error
