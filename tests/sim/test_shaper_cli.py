"""``splitnet sim shape`` as a process, and what it says of settings that cannot be used."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from splitnet import cli
from splitnet.sim import cli as sim_cli
from splitnet.sim.shaper_cli import _OPTIONS, main_shape
from splitnet.sim.shaper_config import ShaperConfig

PATIENCE_S = 20.0


@contextmanager
def shaper(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "splitnet", "sim", "shape", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE_S)
        yield listening


def address(listening: socket.socket) -> str:
    return f"127.0.0.1:{listening.getsockname()[1]}"


def test_every_setting_has_an_option() -> None:
    assert set(_OPTIONS) == set(ShaperConfig.__dataclass_fields__)


def test_a_session(target: socket.socket, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("10\n20\n")
    options = ("--to", address(target), "--rate", "50mbit", "--trace-down", str(trace), "--json")
    with shaper(*options) as process:
        ready = line_of(process)
        assert ready["to"] == f"tcp://{address(target)}"
        port = int(ready["endpoint"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            server, _ = target.accept()
            with server:
                server.settimeout(PATIENCE_S)
                client.sendall(b"question")
                assert server.recv(100) == b"question"
                server.sendall(b"answer")
                assert client.recv(100) == b"answer"
                process.send_signal(signal.SIGUSR1)
                report = line_of(process)["report"]
        assert report["connections"] == {"open": 1, "accepted": 1}
        assert report["up"]["delivered_bytes"] == len(b"question")
        assert report["down"]["delivered_bytes"] == len(b"answer")
        assert report["up"]["delay_error_ms"]["count"] == 2  # the opening, and the bytes
        assert report["timer_lateness_ms"]["count"] > 0
        assert report["traces"] == [
            {"name": str(trace), "ending": "loop", "times_ended": int(report["seconds"] / 0.02)}
        ]
        process.terminate()
        assert line_of(process)["report"]["seconds"] >= report["seconds"]
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == (
            f"the trace {trace} ends after 0.02 s, then it begins again\n"
        )


def test_what_a_person_sees(target: socket.socket) -> None:
    with shaper("--to", address(target), "--rate", "50mbit") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready at tcp://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert "timers were" in process.stdout.read()


def test_a_port_in_use(target: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    taken = address(target)
    code = main_shape(["--listen", taken, "--to", "127.0.0.1:9", "--rate", "1mbit"])
    assert code == 1
    assert f"cannot listen at tcp://{taken}: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "shape: missing --listen, --to"),
        (["--listen", "127.0.0.1:0", "--to", "10.0.0.1:5"], "--to 10.0.0.1:5: the shaper stays on"),
        (["--listen", "0.0.0.0:0", "--to", "127.0.0.1:5"], "--listen 0.0.0.0:0: the shaper stays"),
        (["--listen", "127.0.0.1:0", "--to", "127.0.0.1:5"], "there is no rate for the direction"),
        (["--listen", "127.0.0.1:5", "--to", "localhost:5"], "would lead to itself"),
        (["--queue-bytes", "many"], "--queue-bytes: 'many' is not a whole number"),
        (["--rat", "1mbit"], "unknown option --rat (did you mean '--rate'?)"),
    ],
)
def test_settings_that_cannot_be_used(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main_shape(options)
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sim"], "COMMAND"),
        (["sim", "shap"], "unknown command shap (did you mean 'shape'?)"),
        (["sim", "shape", "--lissten", "x"], "unknown option --lissten (did you mean '--listen'?)"),
    ],
)
def test_commands_that_cannot_be_used(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert message in capsys.readouterr().err


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        sim_cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown and text in shown for name, (_, text) in sim_cli.COMMANDS.items())
