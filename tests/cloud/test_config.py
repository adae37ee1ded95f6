"""Settings of the worker."""

from __future__ import annotations

import pytest

from splitnet.cloud.cli import _OPTIONS
from splitnet.cloud.config import CloudConfig
from splitnet.config import load_config
from splitnet.errors import ConfigError


def test_every_setting_has_an_option() -> None:
    assert set(_OPTIONS) == set(CloudConfig.__dataclass_fields__)


def test_the_default_is_loopback() -> None:
    assert "127.0.0.1" in load_config(CloudConfig, "cloud", options={"bundle": "b"}).bind


def test_values_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match="--max-batch is 0, it must be above 0"):
        load_config(CloudConfig, "cloud", options={"bundle": "b", "max_batch": "0"})
