"""The dispatcher: fast, lazy, and helpful about names."""

from __future__ import annotations

import subprocess
import sys

import pytest

import splitnet
from splitnet.cli import COMMANDS, main


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"splitnet {splitnet.__version__}\n"


def test_help_lists_every_command_and_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "example:" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verfy"], "unknown command verfy (did you mean 'verify'?); see splitnet --help"),
        (["--verison"], "unknown option --verison (did you mean '--version'?)"),
        ([], "COMMAND"),
    ],
)
def test_what_is_no_command(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], {"numpy", "zmq", "onnxruntime", "torch", "rich", "splitnet.edge"}),
        (["edge", "run", "--help"], {"numpy", "zmq", "onnxruntime", "torch", "rich"}),
        (["cloud", "serve", "--help"], {"numpy", "zmq", "onnxruntime", "torch", "ray", "rich"}),
    ],
)
def test_nothing_is_imported_that_is_not_needed(arguments: list[str], unneeded: set[str]) -> None:
    program = (
        "import sys\nfrom splitnet.cli import main\n"
        f"try:\n    main({arguments!r})\n"
        f"except SystemExit:\n    print(*({unneeded!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == ""
