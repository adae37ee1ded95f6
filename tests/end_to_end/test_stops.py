"""Two real processes: what the cloud is not asked for does not leave the device."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from splitnet.bundle import GraphRef
from splitnet.processes import cloud_process
from splitnet.runtime.directory import open_bundle
from splitnet.values import Plan
from tests.coded_files import add_levels
from tests.end_to_end.conftest import SAMPLES, Run, frames_of

REFINED = {"id": "refined", "bits": 2, "refinements": 2}
BASE_BYTES, LAYER_BYTES = 8 + 2 * 256, 256
"""What crosses at ``c1`` is 2,048 values: lowest value and step, then 2 bits and 1 bit of each."""

PARTS = 3
NEVER = 2.0
"""No answer is so sure."""


def with_stops(source: Path, directory: Path, stops: Sequence[float]) -> Path:
    """Copy a bundle and give it a plan with `stops` for level 2 of path ``c1``."""
    shutil.copytree(source, directory)
    bundle = open_bundle(directory)
    rows = bundle.table.paths["c1", 2]
    content = replace(bundle.table, parts={("c1", 2): (rows,) * (PARTS - 1)}).to_bytes()
    table = GraphRef("sample_table.npz", hashlib.sha256(content).hexdigest())
    plan = Plan("c1", 2, stops=tuple(stops))
    advice = replace(bundle.advice, sample_table=table, plans=(*bundle.advice.plans, plan))
    (directory / table.file).write_bytes(content)
    (directory / "advice.json").write_text(json.dumps(advice.to_json()))
    return directory


@pytest.fixture(scope="module")
def refined(sample_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stops") / "bundle"
    shutil.copytree(sample_directory, directory)
    add_levels(directory, "c1", [REFINED])
    return directory


def test_the_rest_is_sent_for_answers_that_are_not_sure(
    refined: Path, edge: Run, tmp_path: Path
) -> None:
    policy = ("--policy", "fixed:plan=c1@2+stops")
    with cloud_process(refined) as cloud:
        coarse = edge(
            cloud.endpoint, "--bundle", with_stops(refined, tmp_path / "0", (0.0, 0.0)), *policy
        )
        sure = {answer["frame"]: answer["confidence"] for answer in coarse.answers}
        stop = median(sure.values())
        some = edge(
            cloud.endpoint, "--bundle", with_stops(refined, tmp_path / "1", (stop, NEVER)), *policy
        )
    assert coarse.code == some.code == 0
    assert frames_of(coarse.answers) == frames_of(some.answers) == list(range(SAMPLES))
    for answer in coarse.answers:
        assert (answer["refinements"], answer["uplink_bytes"]) == ([1, PARTS], BASE_BYTES)
    counters = coarse.summary["counters"]
    assert counters["stopped_early"] == coarse.summary["coarse"] == SAMPLES
    assert counters.get("partial_replies", 0) == 0
    for answer in some.answers:
        used = 1 if sure[answer["frame"]] >= stop else PARTS
        assert answer["refinements"] == [used, PARTS]
        assert answer["uplink_bytes"] == BASE_BYTES + (used - 1) * LAYER_BYTES
        assert answer["answered_by"] == "cloud" and answer["plan"] == "c1@2+stops"
    early = some.summary["counters"]["stopped_early"]
    assert SAMPLES // 2 <= early < SAMPLES and some.summary["coarse"] == early
    assert some.summary["counters"]["partial_replies"] == (PARTS - 1) * (SAMPLES - early)
