"""Two real processes over levels whose codecs need tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.processes import cloud_process
from splitnet.runtime.directory import open_bundle, table_names
from tests.coded_files import CODED_LEVELS, write_coded_files
from tests.end_to_end.conftest import SAMPLES, Run, frames_of


@pytest.fixture(scope="module")
def coded(sample_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coded_files(sample_directory, tmp_path_factory.mktemp("coded") / "bundle")


@pytest.mark.parametrize("level", CODED_LEVELS)
def test_a_level_with_tables_answers_like_the_whole_model(
    coded: Path, edge: Run, level: int
) -> None:
    plan = f"c1@{level}"
    with cloud_process(coded) as cloud:
        done = edge(cloud.endpoint, "--bundle", coded, "--policy", f"fixed:plan={plan}")
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert done.summary["answered_by"] == {"cloud": SAMPLES}
    assert done.summary["accuracy"] > 0.9
    assert {answer["plan"] for answer in done.answers} == {plan}


@pytest.mark.parametrize("side", ["cloud", "edge"])
def test_a_missing_table_is_named_before_anything_is_sent(
    coded: Path, tmp_path: Path, splitnet: Run, samples: Path, side: str
) -> None:
    directory = write_coded_files(coded.parent / "bundle", tmp_path / "copy")
    (directory / "shards" / table_names(open_bundle(directory).contract)[0]).unlink()
    connect = ("--connect", "tcp://127.0.0.1:9", "--source", samples)
    options = connect if side == "edge" else ()
    command = "run" if side == "edge" else "serve"
    done = splitnet(side, command, "--bundle", directory, *options)
    assert done.code != 0
    assert "a codec needs the table" in done.error and "is missing" in done.error
