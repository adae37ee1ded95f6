"""The sample bundle with levels that need tables."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from splitnet.bundle import GraphRef, Level
from splitnet.codecs.calibrating import calibrate
from splitnet.runtime.directory import open_bundle
from splitnet.values import Plan

AFFINE = {"id": "affine", "bits": 8, "low": [0.0], "high": [2.0]}

CODED_LEVELS = range(2, 7)
"""Numbers of the levels that `write_coded_files` adds to path ``c1``."""


def write_coded_files(sample: Path, directory: Path) -> Path:
    """Copy the files of a sample bundle, with levels of path ``c1`` behind the two it has."""
    shutil.copytree(sample, directory)
    random = np.random.default_rng(0)
    crossing = [random.random((4, 8, 16, 16), np.float32)]
    found = [
        calibrate({"id": "pipeline", "codecs": [AFFINE, last]}, crossing)
        for last in ({"id": "rans", "per_channel": True}, {"id": "rans-neighbours"})
    ]
    for calibrated in found:
        for name, table in calibrated.tables.items():
            (directory / "shards" / name).write_bytes(table)
    static, neighbours = (calibrated.config for calibrated in found)
    adaptive = {"id": "pipeline", "codecs": [AFFINE, {"id": "rans-adaptive"}]}
    sliced = {"id": "sliced", "slices": 2, "axis": 2, "codec": static}
    refined = {"id": "refined", "bits": 4, "refinements": 2, "base": static["codecs"][1]}
    add_levels(directory, "c1", [static, neighbours, adaptive, sliced, refined])
    return directory


def add_levels(directory: Path, path_id: str, configs: Sequence[dict[str, Any]]) -> None:
    """Add a level for each codec configuration to a path of the bundle in `directory`."""
    bundle = open_bundle(directory)
    old = bundle.contract.path(path_id)
    levels = tuple(Level(str(config["id"]), ((config,),)) for config in configs)
    path = replace(old, levels=(*old.levels, *levels))
    paths = tuple(path if other.id == path_id else other for other in bundle.contract.paths)
    contract = replace(bundle.contract, paths=paths)
    rows = {(path_id, n): bundle.table.paths[path_id, 1] for n in range(len(path.levels))}
    content = replace(bundle.table, paths={**bundle.table.paths, **rows}).to_bytes()
    table = GraphRef("sample_table.npz", hashlib.sha256(content).hexdigest())
    plans = [Plan(path_id, n) for n in range(len(old.levels), len(path.levels))]
    advice = replace(
        bundle.advice,
        contract_sha256=contract.sha256,
        sample_table=table,
        plans=(*bundle.advice.plans, *plans),
    )
    (directory / table.file).write_bytes(content)
    (directory / "contract.json").write_text(json.dumps(contract.to_json()))
    (directory / "advice.json").write_text(json.dumps(advice.to_json()))
