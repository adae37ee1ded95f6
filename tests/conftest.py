"""A small bundle, for every test that needs contract, advice and sample table; also as files."""

from __future__ import annotations

import hashlib
import pathlib
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.bundle import (
    Advice,
    Boundary,
    Bundle,
    Contract,
    ExitHead,
    ExitRows,
    GraphRef,
    Hop,
    Level,
    Path,
    PathRows,
    Prefilter,
    SampleTable,
    Segment,
)
from splitnet.bundle.contract import PathKind
from splitnet.values import (
    PREPARE_STAGE,
    SKIP,
    ExitStep,
    Plan,
    Profile,
    StageTime,
    TensorSpec,
    decode_stage,
    encode_stage,
    exit_stage,
    segment_stage,
)
from tests.refined_bundle import with_refinements
from tests.sample_files import write_sample_files

ROWS = 200
STORE: dict[str, Any] = {"id": "store"}
EIGHT_BIT: dict[str, Any] = {
    "id": "pipeline",
    "codecs": [{"id": "affine", "bits": 8}, {"id": "lz4"}],
}
EXIT_STEP = ExitStep("e1", "max-softmax", 0.8)

CROSSING = {
    "input": TensorSpec("x", "float32", ("N", 1, 32, 32)),  # 4,096 bytes
    "c1": TensorSpec("a1", "float32", ("N", 8, 16, 16)),  # 8,192 bytes
    "c2": TensorSpec("a2", "float32", ("N", 16, 8, 8)),  # 4,096 bytes
    "output": TensorSpec("y", "float32", ("N", 10)),  # 40 bytes
}
LATENT = TensorSpec("z", "float32", ("N", 4, 8, 8))  # 1,024 bytes


@pytest.fixture(scope="session")
def sample_bundle() -> Bundle:
    """A bundle of 3 segments with 4 paths of 2 levels, 1 exit, 200 rows and 1 profile.

    Boundaries 0 to 3 are ``input``, ``c1``, ``c2``, ``output``. The exact paths are ``input``,
    ``c1`` and ``c2``; the learned one, ``bottleneck``, leaves and enters at boundary 1. The exit
    ``e1`` stands at boundary 1, its threshold is 0.8. Plans: each path at both levels, and at
    level 1 also with the exit.
    """
    contract = _contract()
    table = _table(contract)
    plans = [Plan(p.id, level) for p in contract.paths for level in range(len(p.levels))]
    plans += [Plan(p.id, 1, (EXIT_STEP,)) for p in contract.paths if p.id != "input"]
    advice = Advice(
        contract_sha256=contract.sha256,
        exits=(ExitHead("e1", 1, _graph("exit-e1.onnx"), 1.5, "max-softmax", 0.8),),
        plans=tuple(plans),
        profiles=(_profile(contract),),
        costs={segment_stage(i): {"Conv": 0.75, "other": 0.25} for i in range(3)},
        sample_table=_content("sample_table.npz", table.to_bytes()),
        golden=_content("golden.npz", b"golden"),
        roles={"training": "none", "calibration": "none", "test": {"rows": ROWS, "seed": 0}},
        flops={segment_stage(i): 1_000_000 * (i + 1) for i in range(3)},
    )
    return Bundle(contract, advice, table)


@pytest.fixture(scope="session")
def refined(sample_bundle: Bundle) -> Bundle:
    """The sample bundle with a level of path ``c1`` whose payload has three parts."""
    return with_refinements(sample_bundle)


@pytest.fixture(scope="session")
def skipping_bundle(sample_bundle: Bundle) -> Bundle:
    """`sample_bundle` with a prefilter at boundary 1 that skips half of the rows, 95 % rightly.

    Its threshold is 0.7; the path ``input`` leaves before it. With it there are the plans
    ``PATH@LEVEL+skip``, and ``PATH@1+skip+exits`` in place of ``PATH@1+exits``.
    """
    random = np.random.default_rng(1)
    absence = np.where(np.arange(ROWS) % 2, 0.9, 0.2).astype(np.float32)
    right = np.where(random.random(ROWS) < 0.95, absence > 0.5, absence < 0.5).astype(np.float32)
    old = sample_bundle.advice
    head = ExitHead(SKIP, 1, _graph("exit-skip.onnx"), 1.0, "absence", 0.7)
    step = ExitStep(SKIP, "absence", 0.7)
    plans = [replace(plan, exits=(step, *plan.exits)) for plan in old.plans if plan.path != "input"]
    plans += [plan for plan in old.plans if not plan.exits]
    table = sample_bundle.table
    table = replace(table, exits={**table.exits, SKIP: ExitRows(right, absence)})
    profile = old.profiles[0]
    stages = {**profile.stages, exit_stage(SKIP): StageTime(0.0005, 0.0007)}
    advice = replace(
        old,
        plans=tuple(plans),
        prefilter=Prefilter(head, (3, 5)),
        profiles=(replace(profile, stages=stages),),
        sample_table=_content("sample_table.npz", table.to_bytes()),
    )
    return Bundle(sample_bundle.contract, advice, table)


@pytest.fixture(scope="session")
def sample_directory(
    tmp_path_factory: pytest.TempPathFactory, sample_bundle: Bundle
) -> pathlib.Path:
    """A bundle like `sample_bundle` as files; a test that damages them copies them first."""
    directory = tmp_path_factory.mktemp("bundle")
    write_sample_files(directory, sample_bundle)
    return directory


def _contract() -> Contract:
    return Contract(
        name="sample",
        preprocess=({"op": "scale", "by": 255.0}, {"op": "layout", "to": "CHW"}),
        boundaries=tuple(Boundary(cut, (tensor,)) for cut, tensor in CROSSING.items()),
        segments=tuple(Segment(_graph(f"segment-{i}.onnx")) for i in range(3)),
        paths=(
            _path("input", "exact", Hop(0, 0, (CROSSING["input"],))),
            _path("c1", "exact", Hop(1, 1, (CROSSING["c1"],))),
            _path("c2", "exact", Hop(2, 2, (CROSSING["c2"],))),
            _path(
                "bottleneck",
                "learned",
                Hop(
                    1,
                    1,
                    (LATENT,),
                    encoder=_graph("encoder-bottleneck.onnx"),
                    decoder=_graph("decoder-bottleneck.onnx"),
                ),
            ),
        ),
        whole=_graph("whole.onnx"),
        reply=(STORE,),
    )


def _path(path_id: str, kind: PathKind, hop: Hop) -> Path:
    levels = (Level("float32", ((STORE,),)), Level("8 bit", ((EIGHT_BIT,),)))
    return Path(path_id, kind, (hop,), levels)


def _graph(file: str) -> GraphRef:
    shard = hashlib.sha256(f"weights of {file}".encode()).hexdigest()
    return GraphRef(file, hashlib.sha256(file.encode()).hexdigest(), (shard,))


def _content(file: str, data: bytes) -> GraphRef:
    return GraphRef(file, hashlib.sha256(data).hexdigest())


def _table(contract: Contract) -> SampleTable:
    """About 92 % right on exact paths, 88 % on the learned one, 75 % at the exit."""
    random = np.random.default_rng(0)
    ease = random.random(ROWS)  # an easy sample is easy for everybody

    def answers(accuracy: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        margin = ease - (1 - accuracy) + random.normal(0, 0.05, ROWS)
        score = (margin > 0).astype(np.float32)
        return score, np.clip(0.6 + margin, 0.1, 1.0).astype(np.float32)

    paths = {}
    for path in contract.paths:
        stored = path.hops[0].tensors[0].sample_bytes()
        for level in range(len(path.levels)):
            score, confidence = answers((0.88 if path.kind == "learned" else 0.92) - 0.01 * level)
            sizes = random.normal(stored / 5, stored / 50, ROWS) if level else np.full(ROWS, stored)
            paths[path.id, level] = PathRows(score, confidence, sizes.astype(np.int32))
    keys = np.stack([np.arange(ROWS), np.zeros(ROWS, np.int64)], axis=1)
    return SampleTable(keys, {"e1": ExitRows(*answers(0.75))}, paths)


def _profile(contract: Contract) -> Profile:
    """Every stage of both sides: 4 ms a segment, 1 ms else; 10 ms for the reference network."""
    times = {PREPARE_STAGE: StageTime(0.001, 0.0015), exit_stage("e1"): StageTime(0.001, 0.0015)}
    for i in range(len(contract.segments)):
        times[segment_stage(i)] = StageTime(0.004, 0.005)
    for path in contract.paths:
        for level in range(len(path.levels)):
            times[encode_stage(path.id, level)] = StageTime(0.001, 0.0015)
            times[decode_stage(path.id, level)] = StageTime(0.001, 0.0015)
    return Profile("sample-device", times, {"cpu": "none"}, reference_s=0.010)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let an interrupt raise `KeyboardInterrupt`: what runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
