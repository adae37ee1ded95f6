"""Configuration from four sources, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from splitnet.config import check_positive, load_config, nearest
from splitnet.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settings:
    bind: str
    rate_hz: float | None = None
    limit: int = 10
    loud: bool = False
    cuts: tuple[str, ...] = ()
    out: Path = Path("out")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text('[edge]\nbind = "file"\nrate-hz = 5\nlimit = 3\ncuts = ["a", "b"]\n')
    return path


def test_command_line_beats_environment_beats_file_beats_default(file: Path) -> None:
    environ = {"SPLITNET_EDGE_LIMIT": "4", "SPLITNET_EDGE_BIND": "environment", "OTHER": "1"}
    options = {"bind": "command", "limit": None}
    got = load_config(Settings, "edge", options=options, environ=environ, file=file)
    assert got == Settings("command", 5.0, 4, False, ("a", "b"), Path("out"))


def test_text_becomes_the_annotated_type() -> None:
    options = {"bind": "x", "rate_hz": "2.5", "loud": "yes", "cuts": "a,b", "out": "there"}
    got = load_config(Settings, "edge", options=options)
    assert got == Settings("x", 2.5, 10, True, ("a", "b"), Path("there"))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "missing --bind"),
        ({"bind": "x", "limt": 1}, "^--limt: unknown setting .did you mean 'limit'"),
        ({"bind": "x", "limit": "many"}, "^--limit: 'many' is not a whole number"),
        ({"bind": "x", "limit": True}, "True is not a whole number"),
        ({"bind": "x", "limit": 2.9}, "2.9 is not a whole number"),
        ({"bind": "x", "loud": "perhaps"}, "not true or false"),
        ({"bind": "x", "rate_hz": "fast"}, "^--rate-hz: 'fast' is not a number"),
    ],
)
def test_bad_values_are_named(options: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_config(Settings, "edge", options=options)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(Settings, "edge", file=tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("edge = [")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_config(Settings, "edge", file=bad)
    bad.write_text("edge = 3")
    with pytest.raises(ConfigError, match="must be a table"):
        load_config(Settings, "edge", file=bad)
    bad.write_text("[edge]\nbnd = 1")
    with pytest.raises(ConfigError, match=r"bad.toml: \[edge\] bnd: unknown setting .*'bind'"):
        load_config(Settings, "edge", file=bad)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("LIMT", "1", r"^SPLITNET_EDGE_LIMT: unknown setting \(did you mean 'limit'"),
        ("RATE_HZ", "fast", "^SPLITNET_EDGE_RATE_HZ: 'fast' is not a number"),
    ],
)
def test_bad_variables_are_named(name: str, value: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_config(Settings, "edge", environ={f"SPLITNET_EDGE_{name}": value})


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("inf"), float("nan")])
def test_numbers_are_positive_and_finite(rate_hz: float) -> None:
    check_positive(Settings("x", rate_hz=1e300), "rate_hz", "limit")
    check_positive(Settings("x"), "rate_hz")
    with pytest.raises(ConfigError, match=r"--rate-hz is .*, it must be above 0 and finite"):
        check_positive(Settings("x", rate_hz=rate_hz), "rate_hz")


def test_infinity_is_no_whole_number(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[edge]\nbind = "x"\nlimit = inf\n')
    with pytest.raises(ConfigError, match="limit: inf is not a whole number"):
        load_config(Settings, "edge", file=file)


def test_the_nearest_name_is_suggested_only_if_it_is_near() -> None:
    assert nearest("gredy", ["greedy", "fixed"]) == " (did you mean 'greedy'?)"
    assert nearest("xyz", ["greedy", "fixed"]) == ""
