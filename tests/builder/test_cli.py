"""The commands build, inspect and verify: exit codes, output, one clear line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from splitnet.builder import build as build_module
from splitnet.builder.build import BuildConfig
from splitnet.builder.cli import main_build, main_inspect
from splitnet.builder.verify_cli import main_verify


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL", "DATA", "OUT", "SEED"):
        monkeypatch.delenv(f"SPLITNET_BUILD_{name}", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


def _options(built: BuildConfig, out: Path, *more: str) -> list[str]:
    return [
        *("--model", built.model, "--data", built.data, "--out", str(out), "--cuts", "stage1"),
        *("--exit-at", "none", "--bottleneck-at", "none", *more),
    ]


def test_build_for_people(
    built: BuildConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert main_build(_options(built, out)) == 0
    shown = capsys.readouterr()
    assert "stage1.1:relu:0" in shown.out and "8 bit" in shown.out
    assert "note: no exit, as asked for" in shown.out
    assert f"built {out} in " in shown.out
    assert "running every exit and path" in shown.err


def test_build_for_machines(
    built: BuildConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert main_build(_options(built, out, "--json", "--seed", "1")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["out"] == str(out)
    assert summary["roles"]["seed"] == 1
    assert [path["path"] for path in summary["paths"]] == ["input", "stage1"]


def test_the_environment_is_a_source_of_options(
    built: BuildConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPLITNET_BUILD_EPOCHS", "0")
    assert main_build(_options(built, tmp_path / "bundle")) == 2
    assert "--epochs is 0, must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--modle", "m"], "unknown option --modle (did you mean '--model'?)"),
        (["--epochs", "many"], "'many' is not a whole number"),
        (["--model", "m", "--out", "o"], "missing --data"),
        (["--model", "m", "--data", "nowhere", "--out", "o"], "there is no data at nowhere"),
        (["--model", "m", "--data", "digits", "--out", "o", "--preprocess", "blur=3"], "blur"),
        (["--model", "m.onnx", "--data", "digits:pages=5", "--out", "o"], "m.onnx"),
    ],
)
def test_wrong_usage_is_one_line(
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main_build(options)
    except SystemExit as exit_:
        code = int(str(exit_.code))
    assert code == 2
    errors = capsys.readouterr().err.splitlines()
    assert message in errors[-1] and "Traceback" not in "".join(errors)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_cut_is_wrong_usage(
    built: BuildConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main_build([*_options(built, tmp_path / "bundle"), "--cuts", "stagge1", "--json"])
    assert code == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "did you mean 'stage1'" in error and "known: stage1.1:relu:0" in error
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_build_says_so(
    built: BuildConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, "find_cuts", interrupt)
    assert main_build(_options(built, tmp_path / "bundle")) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_inspect(built: BuildConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_inspect([str(built.out)]) == 0
    shown = capsys.readouterr().out
    for word in ("stage2.1:relu:0", "bottleneck@1", "exits", "segment:2", "profile"):
        assert word in shown
    assert main_inspect([str(built.out), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {"boundaries", "segments", "paths", "exits", "plans", "profiles"} <= content.keys()


def test_verify(built: BuildConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_verify([str(built.out)]) == 0
    shown = capsys.readouterr().out
    assert "stage2@0 = whole (golden)" in shown and "tolerance of " in shown
    assert main_verify([str(built.out), "--data", built.data, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and all(check["ok"] for check in report["checks"])
    assert main_verify([str(built.out), "--device", "jetson-nano-gpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tolerance"]["name"] == "jetson-nano-gpu"
    largest = {(found["path"], found["kind"]): found for found in report["paths"]}
    assert largest["stage1", "the same computation"]["limit"] == 0.01
    assert largest["stage1", "behind a quantiser"]["error"] < 0.05


def test_verify_fails_with_one_line(
    built: BuildConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_verify([str(built.out), "--json", "--tolerance", "1e-15"]) == 1
    shown = capsys.readouterr()
    assert not json.loads(shown.out)["ok"]
    assert shown.err.splitlines()[-1].startswith("error: ")
    assert "checks failed" in shown.err.splitlines()[-1]


def test_no_bundle_and_a_damaged_bundle(
    built: BuildConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for main in (main_inspect, main_verify):
        assert main([str(tmp_path / "none")]) == 1
        assert "there is no bundle at" in capsys.readouterr().err
    copy = Path(shutil.copytree(built.out, tmp_path / "copy"))
    (copy / "whole.onnx").write_bytes(b"")
    assert main_verify([str(copy)]) == 1
    assert "whole.onnx is damaged" in capsys.readouterr().err
