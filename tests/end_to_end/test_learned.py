"""Two real processes over a learned path that ends with its decoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.train_cli import main as train
from splitnet.console import Silent
from splitnet.processes import cloud_process, edge_process
from tests.learned_files import BLOCKS, NETWORKS, write_images, write_recipe

FRAMES = 30


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("learned") / "images.npz")


@pytest.fixture(scope="module")
def bundle(images: Path) -> Path:
    folder = images.parent
    recipe = write_recipe(folder / "r.toml", images, "entropic", BLOCKS)
    assert train([str(recipe), "--out", str(folder / "results"), "--json"]) == 0
    config = BuildConfig(
        f"{NETWORKS}:stages",
        str(images),
        folder / "bundle",
        cuts=("stage1", "stage2"),
        exit_at="none",
        learned=(str(folder / "results"),),
    )
    build(config, Silent())
    return config.out


def test_every_rate_crosses_and_is_answered(bundle: Path, images: Path) -> None:
    sizes = []
    with cloud_process(bundle) as cloud:
        for level in range(3):
            plan = f"fixed:plan=entropic@{level}"
            options = ("--source", str(images), "--policy", plan, "--limit", str(FRAMES))
            with edge_process(bundle, cloud.endpoint, *options) as edge:
                answers = list(edge.answers())
            assert edge.summary["answered_by"] == {"cloud": FRAMES}
            assert {answer["plan"] for answer in answers} == {f"entropic@{level}"}
            assert edge.summary["accuracy"] > 0.8
            sizes.append(edge.summary["uplink_bytes"] / FRAMES)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] < 300


def test_without_a_worker_the_original_segments_answer(bundle: Path, images: Path) -> None:
    options = ("--source", str(images), "--policy", "fixed:plan=entropic@0", "--limit", "5")
    with edge_process(bundle, "tcp://127.0.0.1:9", *options, "--deadline-ms", "300") as edge:
        answers = list(edge.answers())
    assert len(answers) == 5 and "cloud" not in edge.summary["answered_by"]
