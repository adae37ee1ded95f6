"""The frame of every command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from splitnet import console
from splitnet.errors import ConfigError, ModelError


def _parser() -> console.Parser:
    parser = console.Parser(prog="tool")
    parser.add_argument("--deadline-ms", type=float)
    return parser


def test_an_unknown_option_ends_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args(["--dedline-ms", "5"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "unknown option --dedline-ms (did you mean '--deadline-ms'?)" in error
    assert error.count("\n") == 1


def test_options_are_never_guessed_from_a_prefix() -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["--deadline", "5"])


def _raises(error: BaseException) -> int:
    def body() -> int:
        raise error

    return console.run(body)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no\nsuch plan"), 2),
        (ModelError("no such plan"), 1),
        (ModuleNotFoundError("no torch", name="torch"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_line_and_an_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _raises(error) == code
    assert capsys.readouterr().err.count("\n") <= 1


def test_a_missing_module_of_our_own_is_a_bug_and_shown_as_such() -> None:
    with pytest.raises(ModuleNotFoundError):
        _raises(ModuleNotFoundError("x", name="splitnet.nowhere"))


def test_machines_get_the_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise ConfigError("bad plan")

    assert console.run(body, json_errors=True) == 2
    assert json.loads(capsys.readouterr().out) == {"error": "bad plan", "kind": "ConfigError"}


@pytest.mark.parametrize(
    "write", ["emit_json({'a': 1})", "say('ready')", "print_table('Plans', ['plan'], [['c1@1']])"]
)
def test_a_full_disk_is_one_line(write: str) -> None:
    script = (
        f"import sys; from splitnet import console; sys.exit(console.run(lambda: console.{write}))"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the answers: No space left on device\n"


def test_progress_without_a_terminal_is_a_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress() as progress:
        progress.step("train the exit", 10)
        progress.advance(3, "loss 0.5")
        progress.step("measure")
    assert capsys.readouterr().err.splitlines() == ["train the exit", "measure"]
    with console.progress(enabled=False) as progress:
        progress.step("nothing")
        progress.advance()
    assert capsys.readouterr().err == ""


def test_tables_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table("Plans", ["plan", "bytes"], [["c1@1", 2048]])
    out = capsys.readouterr().out
    assert "Plans" in out and "c1@1" in out and "2048" in out
