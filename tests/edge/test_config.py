"""Settings of the edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitnet.config import load_config
from splitnet.edge.cli import _OPTIONS
from splitnet.edge.config import EdgeConfig
from splitnet.errors import ConfigError

GIVEN = {"bundle": "b", "connect": "tcp://127.0.0.1:1", "source": "x.npz"}


def test_every_setting_has_an_option() -> None:
    assert set(_OPTIONS) == set(EdgeConfig.__dataclass_fields__)


def test_command_line_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text('[edge]\nrate = 5\nlimit = 5\nqueue = 5\npolicy = "fixed"\n')
    environ = {"SPLITNET_EDGE_LIMIT": "6", "SPLITNET_EDGE_QUEUE": "6"}
    config = load_config(
        EdgeConfig, "edge", options={**GIVEN, "queue": "7"}, environ=environ, file=file
    )
    assert (config.rate, config.limit, config.queue, config.policy) == (5.0, 6, 7, "fixed")
    assert config.bundle == Path("b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": "0"}, "--rate is 0.0, it must be above 0"),
        ({"deadline_ms": "-1"}, "--deadline-ms is -1.0"),
        ({"deadline_ms": "nan"}, "--deadline-ms is nan"),
        ({"deadline_ms": "inf"}, "--deadline-ms is inf, it must be above 0 and finite"),
        ({"rate": "inf"}, "--rate is inf"),
        ({"max_reply_bytes": "99999999999"}, "--max-reply-bytes is 9+, must be .* to 4294967295"),
        ({"device": "\u00fc" * 65}, "--device has 130 bytes, allowed are at most 128"),
        ({"device": "a\nb"}, "--device has the control character"),
        ({"max_inflight": "0"}, "--max-inflight is 0"),
        ({"limit": "many"}, "limit: 'many' is not a whole number"),
    ],
)
def test_values_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(EdgeConfig, "edge", options={**GIVEN, **options})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="missing --bundle, --source"):
        load_config(EdgeConfig, "edge")


@pytest.mark.parametrize("ways", [{}, {"connect": "tcp://h:1", "directory": "tcp://h:2"}])
def test_there_is_one_way_to_a_worker(ways: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="give one of --connect"):
        load_config(EdgeConfig, "edge", options={"bundle": "b", "source": "x.npz", **ways})
