"""The sample bundle as files: a network of random weights with its exit and its bottleneck."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from splitnet.bundle import Advice, Bundle, Contract, FusedRun, GraphRef
from splitnet.values import Plan, StageTime, fused_stage
from tests.onnx_files import Node, Value, weights, write_onnx

X = Value("x", ("N", 1, 32, 32))
A1 = Value("a1", ("N", 8, 16, 16))
A2 = Value("a2", ("N", 16, 8, 8))
Y = Value("y", ("N", 10))
Z = Value("z", ("N", 4, 8, 8))

HALVE = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
DOUBLE = {"kernel_shape": (2, 2), "strides": (2, 2)}

FIRST = [Node("Conv", ["x", "w1"], ["c1"], HALVE), Node("Relu", ["c1"], ["a1"])]
SECOND = [Node("Conv", ["a1", "w2"], ["c2"], HALVE), Node("Relu", ["c2"], ["a2"])]
W1 = weights({"w1": (8, 1, 3, 3)}, seed=1)
W2 = weights({"w2": (16, 8, 3, 3)}, seed=2)
W3 = weights({"w3": (10, 16)}, seed=3)


def write_sample_files(directory: Path, sample: Bundle) -> Bundle:
    """Write the files of the fixture ``sample_bundle`` and return the bundle with their hashes."""
    directory.mkdir(parents=True, exist_ok=True)
    hashes = _write_graphs(directory)
    if sample.advice.prefilter is not None:
        hashes["exit-skip.onnx"] = _write_prefilter(directory)
    (directory / "sample_table.npz").write_bytes(sample.table.to_bytes())
    (directory / "golden.npz").write_bytes(b"golden")
    contract = Contract.from_json(_with_hashes(sample.contract.to_json(), hashes))
    advice_json = _with_hashes(sample.advice.to_json(), hashes)
    advice = Advice.from_json(advice_json | {"contract_sha256": contract.sha256})
    (directory / "contract.json").write_text(json.dumps(contract.to_json()))
    (directory / "advice.json").write_text(json.dumps(advice.to_json()))
    return Bundle(contract, advice, sample.table)


def with_fused_head(source: Path, bundle: Bundle, folder: Path) -> tuple[Path, Bundle]:
    """Copy the sample bundle and add its first two segments as one graph, no exit, path c2 only."""
    directory = folder / "fused"
    shutil.copytree(source, directory)
    file = "fused-0-2.onnx"
    sha256, shards = write_onnx(directory / file, [*FIRST, *SECOND], [X], [A2], W1 | W2)
    profile = bundle.advice.profiles[0]
    stages = {**profile.stages, fused_stage(0, 2): StageTime(0.005, 0.006)}
    advice = replace(
        bundle.advice,
        exits=(),
        plans=(Plan("c2", 0), Plan("c2", 1)),
        fused=(FusedRun(0, 2, GraphRef(file, sha256, shards)),),
        profiles=(replace(profile, stages=stages),),
    )
    (directory / "advice.json").write_text(json.dumps(advice.to_json()))
    return directory, replace(bundle, advice=advice)


def _write_graphs(directory: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    exit_weights = weights({"we": (10, 8)}, seed=4)
    exit_weights["we"] *= 60  # so that some samples are sure enough to leave
    graphs: dict[str, tuple[list[Node], Value, Value, dict[str, Any]]] = {
        "segment-0.onnx": (FIRST, X, A1, W1),
        "segment-1.onnx": (SECOND, A1, A2, W2),
        "segment-2.onnx": (_classifier("a2", "w3", "y"), A2, Y, W3),
        "whole.onnx": ([*FIRST, *SECOND, *_classifier("a2", "w3", "y")], X, Y, W1 | W2 | W3),
        "exit-e1.onnx": (_classifier("a1", "we", "y"), A1, Y, exit_weights),
        "encoder-bottleneck.onnx": (
            [Node("Conv", ["a1", "wz"], ["z"], HALVE)],
            A1,
            Z,
            weights({"wz": (4, 8, 3, 3)}, seed=5),
        ),
        "decoder-bottleneck.onnx": (
            [Node("ConvTranspose", ["z", "wd"], ["a1"], DOUBLE)],
            Z,
            A1,
            weights({"wd": (4, 8, 2, 2)}, seed=6),
        ),
    }
    return {
        name: write_onnx(directory / name, nodes, [first], [last], arrays)
        for name, (nodes, first, last, arrays) in graphs.items()
    }


def _write_prefilter(directory: Path) -> tuple[str, tuple[str, ...]]:
    """Write a graph that finds nothing of interest in about half of the samples."""
    arrays = weights({"ws": (2, 8)}, seed=7)
    arrays["ws"][:] = 0
    # Two channels, in the ratio of their means over random images, so that neither class wins.
    arrays["ws"][0, 3], arrays["ws"][0, 0] = 90, -173
    nodes = _classifier("a1", "ws", "s")
    return write_onnx(directory / "exit-skip.onnx", nodes, [A1], [Value("s", ("N", 2))], arrays)


def _classifier(source: str, weight: str, target: str) -> list[Node]:
    return [
        Node("GlobalAveragePool", [source], [f"{target}-pooled"]),
        Node("Flatten", [f"{target}-pooled"], [f"{target}-flat"]),
        Node("Gemm", [f"{target}-flat", weight], [target], {"transB": 1}),
    ]


def _with_hashes(value: Any, hashes: dict[str, tuple[str, tuple[str, ...]]]) -> Any:
    """Return the JSON value with the true hashes wherever a graph file is named."""
    if isinstance(value, dict):
        changed = {key: _with_hashes(item, hashes) for key, item in value.items()}
        if changed.get("file") in hashes:
            changed["sha256"], changed["shards"] = hashes[changed["file"]]
            changed["shards"] = list(changed["shards"])
        return changed
    if isinstance(value, (list, tuple)):
        return [_with_hashes(item, hashes) for item in value]
    return value
