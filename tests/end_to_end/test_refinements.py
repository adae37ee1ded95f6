"""Two real processes over a level with refinements: a slow link costs precision, not answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from splitnet.processes import cloud_process, shaper_process
from tests.coded_files import add_levels
from tests.end_to_end.conftest import SAMPLES, Run, frames_of

PARTS = 6
REFINED = {"id": "refined", "bits": 3, "refinements": PARTS - 1}
BASE_BYTES, LAYER_BYTES = 8 + 3 * 256, 256
"""What crosses at ``c1`` is 2,048 values: lowest value and step, then 3 bits and 1 bit of each."""

POLICY = ("--policy", "fixed:plan=c1@2")
LIVE = ("--rate", "2", "--deadline-ms", "400", "--limit", "12")


@pytest.fixture(scope="module")
def refined(sample_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("refined") / "bundle"
    shutil.copytree(sample_directory, directory)
    add_levels(directory, "c1", [REFINED])
    return directory


def test_on_a_good_link_every_answer_is_made_of_all_refinements(refined: Path, edge: Run) -> None:
    with cloud_process(refined) as cloud:
        done = edge(cloud.endpoint, "--bundle", refined, *POLICY)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert {tuple(answer["refinements"]) for answer in done.answers} == {(PARTS, PARTS)}
    whole = BASE_BYTES + (PARTS - 1) * LAYER_BYTES
    assert {answer["uplink_bytes"] for answer in done.answers} == {whole}
    assert done.summary["accuracy"] == 1.0 and done.summary["coarse"] == 0


def test_on_a_slow_link_answers_are_coarse_and_none_is_late(refined: Path, edge: Run) -> None:
    with (
        cloud_process(refined) as cloud,
        shaper_process(cloud.endpoint, "--rate", "50kbit", "--delay", "5ms") as shaper,
    ):
        done = edge(shaper.endpoint, "--bundle", refined, *POLICY, *LIVE)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(12))
    assert done.summary["late"] == 0
    by_cloud = [answer for answer in done.answers if answer["answered_by"] == "cloud"]
    assert len(by_cloud) >= 5  # the first frames may come before the link is known
    used = [answer["refinements"][0] for answer in by_cloud]
    assert 1 < max(used) and min(used) < PARTS
    for answer, count in zip(by_cloud, used, strict=True):
        assert answer["uplink_bytes"] >= BASE_BYTES + (count - 1) * LAYER_BYTES
    assert done.summary["coarse"] == sum(count < PARTS for count in used)
