"""Stops of payloads with several parts: what is measured, chosen, written and said."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.builder import stops as module
from splitnet.builder.build import BuildConfig, build
from splitnet.builder.cli import main_build, main_inspect
from splitnet.builder.data import Roles, load_roles
from splitnet.builder.execution import Execution, inputs_of
from splitnet.builder.inspection import describe, show, tables
from splitnet.builder.places import NONE
from splitnet.builder.plan_map import device_options
from splitnet.builder.stops import choose_stops
from splitnet.builder.tables import level_keys, make_table
from splitnet.builder.thresholds import ThresholdWishes
from splitnet.builder.verification import verify_bundle
from splitnet.bundle import Bundle, PathRows, SampleTable
from splitnet.console import EXIT_OK, EXIT_USAGE, Silent
from splitnet.errors import ConfigError
from splitnet.machines.agent_io import Encode, Encoded, Prepare, RunSegments
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.reading import answer_form
from splitnet.training.certify import CLOSED, LEARN_THEN_TEST, Promise
from splitnet.values import Plan
from tests.builder.conftest import easy_images

CODEC = '{"id": "refined", "bits": 1, "refinements": 2}'

PROMISED = ThresholdWishes(promise=Promise(0.02, 0.9))


@pytest.fixture(scope="module")
def stopping(built: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A build with certified stops of its exact paths, and an exit."""
    folder = tmp_path_factory.mktemp("stopping")
    config = replace(
        built,
        out=folder / "bundle",
        calib=easy_images(folder / "calib.npz", 400, seed=1),
        bottleneck_at=NONE,
        epochs=1,
        codec=CODEC,
        stop_risk=0.02,
        stop_confidence=0.9,
    )
    build(config, Silent())
    return config


@pytest.fixture(scope="module")
def bundle(stopping: BuildConfig) -> Bundle:
    return open_bundle(stopping.out)


@pytest.fixture(scope="module")
def execution(stopping: BuildConfig, bundle: Bundle) -> Execution:
    return Execution(stopping.out, bundle.contract)


@pytest.fixture(scope="module")
def roles(stopping: BuildConfig) -> Roles:
    return load_roles(stopping.data, stopping.calib, None, stopping.seed)


def _rows(score: list[float], confidence: list[float], size: int) -> PathRows:
    sizes = np.full(len(score), size, np.int32)
    return PathRows(np.array(score, np.float32), np.array(confidence, np.float32), sizes)


def _table(execution: Execution, base: PathRows, finer: PathRows, whole: PathRows) -> SampleTable:
    """Return a table in which every level has these answers."""
    keys = level_keys(execution.contract)
    count = len(whole.score)
    positions = np.stack([np.arange(count), np.zeros(count, np.int64)], 1)
    return SampleTable(
        positions, {}, dict.fromkeys(keys, whole), dict.fromkeys(keys, (base, finer))
    )


# --- measuring ----------------------------------------------------------------------------------


def test_every_number_of_first_parts_has_rows(bundle: Bundle) -> None:
    table = bundle.table
    assert table.parts.keys() == {(path, 2) for path in ("input", "stage1", "stage2")}
    for (path, level), parts in table.parts.items():
        sizes = [*(part.bytes.mean() for part in parts), table.mean_bytes(path, level)]
        assert len(parts) == 2 and sizes == sorted(set(sizes))


@pytest.mark.parametrize("path", ["input", "stage1"])
def test_bytes_are_those_that_a_device_sends(
    stopping: BuildConfig, bundle: Bundle, roles: Roles, path: str
) -> None:
    device = DeviceRuntime(stopping.out, bundle)
    for row in range(3):
        device.start(row, partial(roles.test.sample, row))
        device.run(row, Prepare())
        if path == "stage1":
            device.run(row, RunSegments(0, 1))
        sent = device.run(row, Encode(path, 2))
        assert isinstance(sent, Encoded) and len(sent.parts) == 3
        first, second = bundle.table.parts[path, 2]
        assert first.bytes[row] == len(sent.payload)
        assert second.bytes[row] == len(sent.payload) + len(sent.refinements[0])
        assert bundle.table.paths[path, 2].bytes[row] == sent.nbytes


def test_rows_are_what_the_cloud_makes_of_first_parts(
    execution: Execution, bundle: Bundle, roles: Roles
) -> None:
    form = answer_form(bundle.contract)
    assert roles.test.y is not None
    for row in range(3):
        boundaries = execution.boundaries(inputs_of(bundle.contract, roles.test, [row]))
        crossing = execution.crossing("stage1", boundaries)
        found = [*bundle.table.parts["stage1", 2], bundle.table.paths["stage1", 2]]
        made = execution.transmit_parts("stage1", 2, crossing)
        for rows, (sizes, outputs) in zip(found, made, strict=True):
            assert sizes == [rows.bytes[row]]
            assert form.score(outputs, roles.test.y[row : row + 1]) == rows.score[row]
            assert form.confidence(outputs)[0] == pytest.approx(rows.confidence[row], abs=1e-5)
        _, whole = execution.transmit("stage1", 2, crossing)
        assert np.array_equal(whole[0], outputs[0])


def test_some_levels_alone(execution: Execution, bundle: Bundle, roles: Roles) -> None:
    table = make_table(execution, (), roles.test, Silent(), levels=[("stage1", 2), ("input", 1)])
    assert table.paths.keys() == {("stage1", 2), ("input", 1)}
    assert table.parts.keys() == {("stage1", 2)} and table.exits == {}
    for mine, full in zip(table.parts["stage1", 2], bundle.table.parts["stage1", 2], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, full, strict=True))


# --- choosing -----------------------------------------------------------------------------------


def _choose(
    monkeypatch: pytest.MonkeyPatch,
    execution: Execution,
    roles: Roles,
    table: SampleTable,
    wishes: ThresholdWishes,
) -> module.Stops:
    monkeypatch.setattr(module, "make_table", lambda *args, **options: table)
    return choose_stops(execution, roles, wishes, Silent())


def test_without_a_promise_each_stop_may_lose_its_share(
    monkeypatch: pytest.MonkeyPatch, execution: Execution, roles: Roles
) -> None:
    table = _table(
        execution,
        _rows([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6], 10),
        _rows([1, 1, 1, 0], [0.9, 0.9, 0.8, 0.4], 20),
        _rows([1, 1, 1, 1], [1, 1, 1, 1], 30),
    )
    found = _choose(monkeypatch, execution, roles, table, ThresholdWishes(0.0))
    stops = found.thresholds["stage1", 2]
    # The second sample is wrong after the first part, the fourth after two.
    assert 0.8 < stops[0] < 0.9 and 0.4 < stops[1] < 0.8
    plan = Plan("stage1", 2, stops=stops)
    assert table.replies(plan).tolist() == [1, 2, 2, 3]
    assert found.origin["stage1@2"] == {"loss": 0.0}
    assert len(found.notes) == 3
    assert (
        "the stops of stage1@2 send 20 of 30 bytes on calibration data, in 2.00 answers a "
        "request; the score is 1.0000 with them and 1.0000 without"
    ) in found.notes
    wide = _choose(monkeypatch, execution, roles, table, ThresholdWishes(1.0))
    assert table.replies(Plan("stage1", 2, stops=wide.thresholds["stage1", 2])).max() == 1


def test_a_level_without_a_good_stop_has_none(
    monkeypatch: pytest.MonkeyPatch, execution: Execution, roles: Roles
) -> None:
    wrong = _rows([0, 0, 1, 1], [0.9, 0.9, 0.2, 0.2], 10)
    table = _table(execution, wrong, wrong, _rows([1, 1, 1, 1], [1, 1, 1, 1], 30))
    found = _choose(monkeypatch, execution, roles, table, ThresholdWishes(0.1))
    assert found.thresholds == {}
    assert found.origin["input@2"] == {"loss": 0.1}
    assert found.notes[0] == (
        "the stops of input@2 are closed, so no plan has them: no threshold loses at most 0.1 of "
        "the score on calibration data"
    )


def test_a_closed_stop_does_not_close_the_others(
    monkeypatch: pytest.MonkeyPatch, execution: Execution, roles: Roles
) -> None:
    wrong, right = _rows([0, 0], [0.9, 0.9], 10), _rows([1, 1], [0.5, 0.6], 20)
    table = _table(execution, wrong, right, _rows([1, 1], [1, 1], 30))
    found = _choose(monkeypatch, execution, roles, table, ThresholdWishes(0.1))
    first, second = found.thresholds["input", 2]
    assert first == CLOSED and 0.4 < second < 0.5


def test_a_promise_weighs_stops_by_bytes_of_training_samples(
    monkeypatch: pytest.MonkeyPatch, execution: Execution, roles: Roles
) -> None:
    count, rng = 400, np.random.default_rng(0)
    sure = rng.random(count) < 0.8
    confidence = np.where(sure, 0.9, 0.1).tolist()
    right = _rows(sure.astype(float).tolist(), confidence, 10)
    table = _table(execution, right, right, _rows([1.0] * count, [1.0] * count, 30))
    found = _choose(monkeypatch, execution, roles, table, PROMISED)
    told = found.origin["stage1@2"]
    assert (told["rule"], told["risk"], told["confidence"]) == (LEARN_THEN_TEST, 0.02, 0.9)
    assert (told["samples"], told["lost"]) == (400, 0)
    first, second = found.thresholds["stage1", 2]
    # Both refinements are of one size: the first stop saves twice as much, and may doubt as much.
    assert 0.1 < first < 0.9
    assert 1 - first == pytest.approx(2 * (1 - second), rel=1e-3)
    assert (
        "the stops of stage1@2 lose at most 0.02 of the score against all parts, with a "
        "confidence of 0.9 (learn-then-test, 400 calibration samples)"
    ) in found.notes


def test_too_few_calibration_samples(execution: Execution, roles: Roles) -> None:
    few = replace(roles, calibration=roles.calibration.rows(np.arange(30)))
    with pytest.raises(ConfigError, match=r"30 calibration samples .* 114 are needed"):
        choose_stops(execution, few, PROMISED, Silent())


def test_it_is_said_before_anything_is_learned(built: BuildConfig, tmp_path: Path) -> None:
    few = replace(built, out=tmp_path / "b", stop_risk=0.005, model="nowhere.py:nothing")
    with pytest.raises(ConfigError, match=r"30 calibration samples .* 598 are needed"):
        build(few, Silent())


def test_where_no_level_has_parts_nothing_is_stopped(built: BuildConfig, roles: Roles) -> None:
    plain = Execution(built.out, open_bundle(built.out).contract)
    assert choose_stops(plain, roles, ThresholdWishes(), Silent()) == module.Stops()
    (note,) = choose_stops(plain, roles, PROMISED, Silent()).notes
    assert note == "no level has a payload of several parts, so there is nothing to stop"


# --- the bundle ---------------------------------------------------------------------------------


def test_there_are_plans_with_stops_and_without(bundle: Bundle) -> None:
    keys = [plan.key for plan in bundle.advice.plans]
    assert len(keys) == len(set(keys))
    (head,) = bundle.advice.exits
    for path in bundle.contract.paths:
        names = {"", "+stops"}
        if head.boundary <= path.hops[0].boundary:
            names |= {"+exits", "+exits+stops"}
        found = {key.removeprefix(f"{path.id}@2") for key in keys if key.startswith(f"{path.id}@2")}
        assert found == names
        assert not any(key.startswith(f"{path.id}@1") and "stops" in key for key in keys)
    told = bundle.advice.roles["stops"]
    assert told.keys() == {"input@2", "stage1@2", "stage2@2"}
    assert told["input@2"]["samples"] == 400 and told["input@2"]["lost"] <= 0.02


def test_such_a_bundle_is_verified(stopping: BuildConfig) -> None:
    assert verify_bundle(stopping.out, None, Silent()).ok


def test_inspect_says_what_stops_promise_and_do(bundle: Bundle) -> None:
    content = json.loads(json.dumps(describe(bundle)))
    (told,) = [stops for stops in content["stops"] if stops["of"] == "stage1@2"]
    (plan,) = [plan for plan in bundle.advice.plans if plan.key == "stage1@2+stops"]
    does, whole = (bundle.table.plan_statistics(p) for p in (plan, replace(plan, stops=())))
    assert told["thresholds"] == list(plan.stops) and told["risk"] == 0.02
    assert told["test"] == {
        "samples": len(bundle.table),
        "bytes": does.bytes,
        "all_bytes": whole.bytes,
        "replies": does.replies,
        "lost": whole.accuracy - does.accuracy,
    }
    (shown,) = [p for p in content["plans"] if p["plan"] == plan.key]
    assert (shown["bytes"], shown["replies"]) == (does.bytes, does.replies)
    stage1 = content["paths"][1]
    assert [len(level["parts"]) for level in stage1["levels"]] == [0, 0, 2]
    printed: dict[str, list[tuple[Any, ...]]] = {}
    show(tables(content), lambda title, header, rows: printed.update({title: list(rows)}))
    assert ("stops of stage1@2", "loss at most 2.00%", "90%", 400) in [
        row[:4] for row in printed["promises"]
    ]
    parts = printed["first parts of payloads (answers to them)"]
    assert ("stage1@2", "1 of 3") in [row[:2] for row in parts]


def test_the_plan_map_prices_plans_with_stops(bundle: Bundle) -> None:
    options = {o.key: o for o in device_options(bundle, bundle.advice.profiles[0])}
    stopped, whole = options["stage1@2+stops"], options["stage1@2"]
    assert stopped.uplink_bytes < whole.uplink_bytes


def test_the_command_line(
    built: BuildConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "bundle"
    options = ["--model", built.model, "--data", built.data, "--cuts", "stage1", "--out", str(out)]
    options += ["--exit-at", "none", "--bottleneck-at", "none"]
    assert main_build([*options, "--stop-risk", "0"]) == EXIT_USAGE
    assert "--stop-risk is 0, must be between 0 and 1" in capsys.readouterr().err
    assert main_build([*options, "--codec", CODEC, "--stop-loss", "0.01", "--json"]) == EXIT_OK
    summary = json.loads(capsys.readouterr().out)
    assert summary["roles"]["stops"]["stage1@2"] == {"loss": 0.01}
    assert main_inspect([str(out)]) == EXIT_OK
    shown = capsys.readouterr().out
    assert "stage1@2+stops" in shown and "stops of stage1@2" in shown


def test_random_samples_have_no_stops(stopping: BuildConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--stop-risk: random samples can show no loss"):
        replace(stopping, data="random:20")
    config = BuildConfig(
        stopping.model,
        "random:20",
        tmp_path / "bundle",
        input=("float32:1x3x16x16",),
        cuts=("stage1",),
        exit_at=NONE,
        bottleneck_at=NONE,
        codec=CODEC,
    )
    build(config, Silent())
    bundle = open_bundle(config.out)
    assert bundle.table.parts and not any(plan.stops for plan in bundle.advice.plans)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop_loss": -0.1}, "--stop-loss is -0.1, must be from 0 to 1"),
        ({"stop_loss": float("nan")}, "--stop-loss is nan, must be from 0 to 1"),
        ({"stop_risk": 0.0}, "--stop-risk is 0, must be between 0 and 1"),
        ({"stop_risk": 1.0}, "--stop-risk is 1, must be between 0 and 1"),
        ({"stop_risk": 0.1, "stop_confidence": 1.0}, "--stop-confidence is 1, must be between"),
        ({"stop_risk": 0.1, "stop_rule": "hope"}, "unknown rule 'hope'; known: learn-then-test"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BuildConfig("m", "d", Path("o"), **options)
