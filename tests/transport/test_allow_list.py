"""Allow-lists: their text, what is added, and what happens when they change."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from splitnet.errors import ConfigError
from splitnet.transport.allow_list import AllowList, allow, parse_allow_list
from splitnet.transport.keys import PublicKey

A, B = "a" * 40, "b" * 40


def test_one_key_a_line_with_names_and_comments() -> None:
    text = f"# our devices\n#\n\n{A} pi 7, kitchen \n  {B}\n#{A}\n"
    assert parse_allow_list(text, "x") == {A: "pi 7, kitchen", B: ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{A}\n{B}\n{A} again\n", f"x:3: the key {A} stands in line 1 already"),
        ("hello\n", "x:1: 'hello' is not a key: 40 characters of Z85 are needed"),
        (f"{A[:-1]} name\n", "x:1: .* is not a key"),
    ],
)
def test_lines_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_allow_list(text, "x")


def test_keys_are_appended_once_and_comments_stay(tmp_path: Path) -> None:
    file = tmp_path / "allow"
    file.write_text(f"# ours\n{A} first")
    keys = [PublicKey(A), PublicKey(B, "device", "second"), PublicKey(B, "device", "second")]
    assert allow(file, keys) == [keys[1]]
    assert file.read_text() == f"# ours\n{A} first\n{B} second\n"
    assert allow(file, keys) == []


def test_a_damaged_list_is_not_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "allow"
    file.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="allow:1: 'nonsense' is not a key"):
        allow(file, [PublicKey(A)])
    assert file.read_text() == "nonsense\n"


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the allow-list .*: No such file"):
        AllowList(tmp_path / "no").load()
    (tmp_path / "binary").write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="is not a text file"):
        AllowList(tmp_path / "binary").load()
    with pytest.raises(ConfigError, match="cannot write the allow-list"):
        allow(tmp_path / "no" / "allow", [PublicKey(A)])


def test_a_change_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "allow"
    file.write_text(f"{A}\n")
    allowed = AllowList(file)
    allowed.load()
    assert not allowed.refresh()
    file.write_text(f"{A}\n{B} second\n")
    assert not allowed.refresh()  # nothing was taken away
    assert B in allowed
    assert allowed.name(B) == "second"
    file.write_text(f"{B} second\n")
    assert allowed.refresh()
    assert A not in allowed


def test_a_change_for_the_worse_keeps_what_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "allow"
    file.write_text(f"{A}\n")
    allowed = AllowList(file)
    allowed.load()
    file.write_text("nonsense\n")
    with caplog.at_level(logging.WARNING):
        assert not allowed.refresh()
        assert not allowed.refresh()
        file.unlink()
        assert not allowed.refresh()
    assert A in allowed
    assert [r.message.partition(":")[0] for r in caplog.records] == [
        "allow-list kept as it was",
        "allow-list kept as it was",
    ]
