"""The command ``splitnet sim run``: what it prints, its exit codes, and replay across processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from splitnet.bundle import Bundle
from splitnet.sim import running
from splitnet.sim.running import main_run
from tests.sample_files import write_sample_files
from tests.sim.scenarios import TEXT


@pytest.fixture
def scenario_file(tmp_path: Path, sample_directory: Path) -> Path:
    file = tmp_path / "try.toml"
    file.write_text(f'bundle = "{sample_directory}"\n{TEXT}')
    return file


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    return summary


def test_json_for_machines(scenario_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_run([str(scenario_file), "--json"]) == 0
    summary = printed(capsys)
    assert (summary["scenario"], summary["seed"], summary["frames"]) == ("try", 3, 20)
    assert summary["answers"] == 20


def test_a_table_for_people(scenario_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_run([str(scenario_file)]) == 0
    out = capsys.readouterr().out
    assert "try, seed 3" in out
    assert "cloud/" in out and "device %" in out


def test_the_seed_of_the_command_line_wins(
    scenario_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hashes = []
    for options in ([], ["--seed", "3"], ["--seed", "4"]):
        assert main_run([str(scenario_file), "--json", *options]) == 0
        hashes.append(printed(capsys)["answers_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_another_process_gives_the_same_answers(scenario_file: Path) -> None:
    code = "import sys; from splitnet.sim.running import main_run; sys.exit(main_run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(scenario_file), "--json"]
    lines = []
    for hash_seed in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        lines.append(subprocess.run(command, capture_output=True, check=True, env=environ).stdout)
    assert lines[0] == lines[1]


def test_nothing_of_the_floors_above_is_needed(scenario_file: Path) -> None:
    code = (
        "import sys; from splitnet.sim.running import main_run; main_run(sys.argv[1:]);"
        "above = {'zmq', 'onnxruntime', 'torch', 'matplotlib', 'splitnet.runtime'};"
        "assert not above & set(sys.modules), above & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(scenario_file), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def test_a_plot_is_drawn(scenario_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs the extra sim")
    assert main_run([str(scenario_file), "--json", "--plot", str(tmp_path / "run.png")]) == 0
    assert (tmp_path / "run.png").stat().st_size > 10_000


def test_without_matplotlib_the_extra_is_named(
    scenario_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "splitnet.sim.plotting", raising=False)
    monkeypatch.delitem(sys.modules, "splitnet.sim.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main_run([str(scenario_file), "--plot", str(tmp_path / "run.png")]) == 1
    assert "pip install 'splitnet[sim]'" in capsys.readouterr().err


def test_a_broken_promise_ends_with_1(
    scenario_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("splitnet.sim.report.problems", lambda outcome: ["something is missing"])
    assert main_run([str(scenario_file), "--json"]) == 1
    assert "error: something is missing" in capsys.readouterr().err


# --- mistakes -----------------------------------------------------------------------------------


def fails(
    capsys: pytest.CaptureFixture[str], arguments: list[str | Path], code: int, message: str
) -> None:
    assert main_run([*map(str, arguments)]) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1, "one clear line"


def test_a_bundle_that_is_not_there(
    scenario_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none"
    fails(capsys, [scenario_file, "--bundle", missing], 1, f"there is no bundle at {missing}")
    scenario_file.write_text(TEXT)
    fails(capsys, [scenario_file], 2, "names no bundle: add one, or give --bundle DIR")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("contract.json", "contract.json is not JSON"),
        ("advice.json", "advice.json is not JSON"),
        ("sample_table.npz", "sample_table.npz has the hash"),
    ],
)
def test_a_damaged_bundle(
    scenario_file: Path,
    sample_directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(sample_directory, damaged)
    (damaged / name).write_bytes((damaged / name).read_bytes()[:-40])
    fails(capsys, [scenario_file, "--bundle", damaged], 1, message)
    (damaged / name).unlink()
    fails(capsys, [scenario_file, "--bundle", damaged], 1, f"cannot read {name} of the bundle")


def test_a_bundle_needs_no_graphs(
    scenario_file: Path, sample_directory: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("contract.json", "advice.json", "sample_table.npz"):
        shutil.copy(sample_directory / name, bare)
    assert running.read_bundle(bare).contract.name == "sample"
    assert main_run([str(scenario_file), "--json", "--bundle", str(bare)]) == 0


def test_a_scenario_with_a_mistake(scenario_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario_file.write_text(TEXT.replace("policy", "polcy"))
    fails(capsys, [scenario_file], 2, "agents[0].polcy: unknown key (did you mean 'policy'?)")
    fails(capsys, [scenario_file.with_name("no.toml")], 2, "cannot read the scenario")


def test_an_unknown_option(scenario_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main_run([str(scenario_file), "--sede", "3"])
    assert left.value.code == 2
    assert "unknown option --sede (did you mean '--seed'?)" in capsys.readouterr().err


def test_the_error_is_json_too(scenario_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario_file.write_text("[link")
    assert main_run([str(scenario_file), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["kind"] == "ConfigError"


def test_a_prefilter_has_a_share_of_its_own(
    skipping_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sample_files(tmp_path / "bundle", skipping_bundle)
    text = TEXT.replace("c1@1", "c1@1+skip") if "c1@1" in TEXT else TEXT
    file = tmp_path / "try.toml"
    file.write_text(f'bundle = "{tmp_path}/bundle"\n{text}')
    assert main_run([str(file), "--json"]) == 0
    by = printed(capsys)["answered_by"]
    assert by["skip"] > 0 and sum(by.values()) == 20
    assert main_run([str(file)]) == 0
    assert "skip %" in capsys.readouterr().out
