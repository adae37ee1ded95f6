"""The command ``splitnet keys``: one clear line for everything, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitnet.keys import main

OK, USAGE = 0, 2


def made(directory: Path, kind: str, name: str) -> Path:
    assert main(["new", "--kind", kind, "--out", str(directory), "--name", name, "--json"]) == OK
    return directory / f"{name}.pub"


def test_new_says_what_is_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "--kind", "worker", "--out", str(tmp_path / "keys")]) == OK
    said = capsys.readouterr().out
    assert "worker.key is secret and stays with this worker" in said
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == [
        "worker.key",
        "worker.pub",
    ]


def test_show_never_shows_the_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public = made(tmp_path, "device", "pi")
    secret = json.loads((tmp_path / "pi.key").read_text())["secret"]
    capsys.readouterr()
    for file in (public, tmp_path / "pi.key"):
        assert main(["show", str(file)]) == OK
        assert main(["show", str(file), "--json"]) == OK
    said = capsys.readouterr().out
    assert secret not in said
    assert "kind     device" in said
    assert json.loads(said.splitlines()[-1])["name"] == "pi"


def test_allow_adds_once_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public = made(tmp_path, "device", "pi")
    key = json.loads(public.read_text())["public"]
    capsys.readouterr()
    file = tmp_path / "allow"
    assert main(["allow", "--list", str(file), str(public)]) == OK
    assert main(["allow", "--list", str(file), str(public), key]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(key)[2] for line in lines] == [
        " pi added",
        " pi is there already",
        "  is there already",
    ]
    assert file.read_text() == f"{key} pi\n"


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worker = made(tmp_path, "worker", "worker")
    capsys.readouterr()
    (tmp_path / "worker.key").chmod(0o644)
    allow = ["allow", "--list", str(tmp_path / "allow")]
    for arguments, message in (
        (["new", "--kind", "worker", "--out", str(tmp_path)], "worker.key is there already"),
        (["new", "--kind", "worker", "--out", str(tmp_path), "--name", "a/b"], "--name 'a/b'"),
        (["new", "--kind", "worker", "--out", str(worker)], "cannot write"),
        (["show", str(tmp_path / "worker.key")], "chmod 600"),
        (["show", str(tmp_path / "no")], "cannot read the key"),
        ([*allow, str(worker)], "is the key of a worker; that of a device is needed"),
        ([*allow, "nonsense"], "PUBLIC: 'nonsense' is not a key"),
        ([*allow, "x.pub"], "PUBLIC: there is no file x.pub"),
    ):
        assert main(arguments) == USAGE
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not (tmp_path / "allow").exists()


def test_a_directory_may_allow_workers(tmp_path: Path) -> None:
    worker = made(tmp_path, "worker", "worker")
    arguments = ["allow", "--kind", "worker", "--list", str(tmp_path / "allow"), str(worker)]
    assert main(arguments) == OK


@pytest.mark.parametrize("arguments", [[], ["new"], ["new", "--kind", "toaster", "--out", "x"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == USAGE
    assert capsys.readouterr().err.startswith("splitnet keys")
