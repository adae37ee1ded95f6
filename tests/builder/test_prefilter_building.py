"""A bundle with a prefilter: what is certified, what the device says, what people are told."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.places import NONE
from splitnet.console import Silent
from splitnet.errors import ConfigError
from splitnet.machines.agent_io import LocalResult, Prepare, RunExit, RunSegments
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.reading import Reading
from splitnet.values import SKIP


@pytest.fixture(scope="module")
def filtered(built: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A build with a prefilter for the classes 1 and 2, on enough samples for its promise."""
    folder = tmp_path_factory.mktemp("filtered")
    rng = np.random.default_rng(1)
    for name, count in (("train", 300), ("calib", 150), ("test", 90)):
        y = rng.integers(0, 3, count)
        x = rng.integers(0, 80, (count, 16, 16, 3), np.uint8)
        x[np.arange(count), :, :, y] += 120
        np.savez(folder / f"{name}.npz", x=x, y=y)
    config = replace(
        built,
        out=folder / "bundle",
        data=str(folder / "train.npz"),
        calib=str(folder / "calib.npz"),
        test=str(folder / "test.npz"),
        bottleneck_at=NONE,
        exit_at="stage2",
        interest="1,2",
        interest_recall=0.95,
        interest_confidence=0.9,
        epochs=8,
    )
    build(config, Silent())
    return config


def test_a_prefilter_is_advice_with_its_promise(filtered: BuildConfig) -> None:
    bundle = open_bundle(filtered.out)
    found = bundle.advice.prefilter
    assert found is not None and found.interest == (1, 2)
    assert (found.head.id, found.head.boundary, found.head.confidence) == (SKIP, 1, "absence")
    told = bundle.advice.roles["prefilter"]
    assert (told["recall"], told["confidence"]) == (0.95, 0.9) and told["samples"] >= 45
    assert [head.id for head in bundle.advice.heads] == [SKIP, "stage2"]
    keys = {plan.key for plan in bundle.advice.plans}
    assert {"stage1@0+skip", "stage2@1+skip+exits"} <= keys and "input@0+skip" not in keys


def test_its_column_of_the_sample_table(filtered: BuildConfig) -> None:
    bundle = open_bundle(filtered.out)
    assert filtered.test is not None and bundle.advice.prefilter is not None
    with np.load(filtered.test) as data:
        nothing = data["y"] == 0
    rows = bundle.table.exits[SKIP]
    np.testing.assert_array_equal(rows.score, nothing.astype(np.float32))
    skipped = bundle.table.exit_passed(SKIP, bundle.advice.prefilter.head.threshold)
    assert skipped[nothing].mean() > 0.5 and skipped[~nothing].mean() <= 0.1
    plan = next(plan for plan in bundle.advice.plans if plan.key == "stage1@0+skip")
    statistics = bundle.table.plan_statistics(plan)
    assert statistics.exit_share == pytest.approx(skipped.mean())
    plain = bundle.table.mean_bytes("stage1", 0)
    assert statistics.bytes == pytest.approx(plain * (1 - skipped.mean()))


def test_the_device_says_that_there_is_nothing(filtered: BuildConfig) -> None:
    bundle = open_bundle(filtered.out)
    assert filtered.test is not None and bundle.advice.prefilter is not None
    with np.load(filtered.test) as data:
        x, y = data["x"], data["y"]
    runtime = DeviceRuntime(filtered.out, bundle)
    threshold = bundle.advice.prefilter.head.threshold
    for row in range(6):
        runtime.start(row, partial(x.__getitem__, row))
        runtime.run(row, Prepare())
        runtime.run(row, RunSegments(0, 1))
        found = runtime.run(row, RunExit(SKIP))
        assert isinstance(found, LocalResult) and isinstance(found.answer, Reading)
        assert found.answer.skipped and found.answer.labels == []
        live = bundle.table.exits[SKIP].confidence[row]
        assert found.confidence == pytest.approx(float(live), abs=1e-4)
        assert runtime.score(found.answer, y[row : row + 1]) == float(y[row] == 0)
        assert 0 < threshold < 1


def test_too_few_samples_of_interest(filtered: BuildConfig, tmp_path: Path) -> None:
    few = replace(filtered, out=tmp_path / "b", interest="1", interest_recall=0.99)
    with pytest.raises(ConfigError, match=r"samples of interest .* 230 are needed"):
        build(few, Silent())


@pytest.mark.parametrize(
    ("interest", "message"), [("0,1,2", "all of"), ("any", "all of"), ("7", "7 is unknown")]
)
def test_both_kinds_are_needed(
    filtered: BuildConfig, tmp_path: Path, interest: str, message: str
) -> None:
    config = replace(filtered, out=tmp_path / "b", interest=interest)
    with pytest.raises(ConfigError, match=message):
        build(config, Silent())


def test_random_samples_have_no_interest(built: BuildConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing in random samples"):
        replace(built, out=tmp_path / "b", data="random:4", interest="1")


@pytest.mark.parametrize("text", ["cat", "3,", "-1", ""])
def test_interest_is_labels(built: BuildConfig, text: str) -> None:
    with pytest.raises(ConfigError, match="must be labels such as 3,5, or any"):
        replace(built, interest=text)
