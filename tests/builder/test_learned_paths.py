"""Results of trainings in a bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.inspection import describe, tables
from splitnet.builder.train_cli import main as train
from splitnet.console import Silent
from splitnet.errors import ConfigError, ModelError, TrainingError
from splitnet.runtime.directory import open_bundle, table_names
from tests.learned_files import (
    AUTOENCODER,
    ENTROPIC,
    IMAGE_CODEC,
    NETWORKS,
    write_images,
    write_recipe,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """Settings of a build with a path whose rest was trained and one whose rest was not."""
    folder = tmp_path_factory.mktemp("learned")
    images = write_images(folder / "images.npz")
    for name, table, settings in (
        ("entropic", ENTROPIC, {"target": "stage1"}),
        ("autoencoder", AUTOENCODER, {"source": "stage1", "target": "stage1.1:relu:0"}),
        ("image-codec", IMAGE_CODEC, {}),
    ):
        recipe = write_recipe(folder / f"{name}.toml", images, name, table, **settings)
        assert train([str(recipe), "--out", str(folder / name), "--json"]) == 0
    return BuildConfig(
        f"{NETWORKS}:stages",
        str(images),
        folder / "bundle",
        cuts=("stage2",),
        exit_at="none",
        learned=tuple(str(folder / name) for name in ("entropic", "autoencoder", "image-codec")),
    )


@pytest.fixture(scope="module")
def bundle(config: BuildConfig) -> Path:
    build(config, Silent())
    return config.out


def test_the_rest_of_the_network_is_in_the_decoder_if_it_was_trained(bundle: Path) -> None:
    contract = open_bundle(bundle).contract
    hops = {path.id: path.hops[0] for path in contract.paths}
    learned = ["entropic", "autoencoder", "image-codec"]
    assert list(hops) == ["input", "stage1", "stage2", *learned]
    assert (hops["entropic"].boundary, hops["entropic"].entry) == (0, 3)
    assert (hops["autoencoder"].boundary, hops["autoencoder"].entry) == (1, 1)
    assert (hops["image-codec"].boundary, hops["image-codec"].entry) == (0, 3)
    assert hops["image-codec"].encoder is None, "files need no graph on the device"
    assert contract.segments[0].graph not in contract.graphs("entropic")


@pytest.mark.parametrize(("number", "name"), [(0, "entropic"), (2, "image-codec")])
def test_each_rate_is_a_level_with_true_bytes(
    bundle: Path, config: BuildConfig, number: int, name: str
) -> None:
    found = open_bundle(bundle)
    path = found.contract.path(name)
    results = json.loads((Path(config.learned[number]) / "results.json").read_text())
    assert [level.name for level in path.levels] == [level["name"] for level in results["levels"]]
    for rate, level in enumerate(results["levels"]):
        assert found.table.mean_bytes(name, rate) == pytest.approx(level["test"][1])
        assert found.table.mean_score(name, rate) == pytest.approx(level["test"][0])
    assert all((bundle / "shards" / name).is_file() for name in table_names(found.contract))


def test_the_extra_weights_are_stated(bundle: Path) -> None:
    content = describe(open_bundle(bundle))
    (rows,) = [rows for title, _, rows in tables(content) if title.startswith("learned paths")]
    expected = [("entropic", 0, 3), ("autoencoder", 1, 1), ("image-codec", 0, 3)]
    assert [row[:3] for row in rows] == expected
    sizes = [row[3] for row in rows]
    assert all(isinstance(size, int) and size > 1000 for size in sizes)


def test_the_same_recipe_twice_has_two_names(config: BuildConfig, tmp_path: Path) -> None:
    twice = replace(config, out=tmp_path / "twice", learned=(config.learned[0],) * 2)
    build(twice, Silent())
    paths = [path.id for path in open_bundle(twice.out).contract.paths]
    assert paths == ["input", "stage2", "entropic", "entropic-2"]


def test_a_path_for_another_network_is_refused(config: BuildConfig, tmp_path: Path) -> None:
    other = replace(config, model=f"{NETWORKS}:residual", cuts=(), out=tmp_path / "other")
    with pytest.raises(ModelError, match="was trained for a network with other weights"):
        build(replace(other, learned=config.learned[:1]), Silent())
    assert not other.out.exists()


def test_what_trained_a_path_does_not_calibrate_its_stops(
    config: BuildConfig, tmp_path: Path
) -> None:
    images, learned = config.data, config.learned[:1]
    seen = replace(config, data=f"{images}[:60]", learned=learned, out=tmp_path / "seen")
    seen = replace(seen, calib=f"{images}[60:120]", test=f"{images}[120:160]")
    with pytest.raises(ConfigError, match=r"60 calibration samples .* trained the learned path"):
        build(seen, Silent())


def test_what_is_not_finished_or_damaged_is_refused(config: BuildConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no finished training"):
        build(replace(config, learned=(str(tmp_path),), out=tmp_path / "out"), Silent())


def test_the_bundle_answers_as_the_student_did(bundle: Path) -> None:
    rows = open_bundle(bundle).table.paths["entropic", 0]
    assert float(np.mean(rows.score)) > 0.9
    assert int(rows.bytes.max()) < 40
