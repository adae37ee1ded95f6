"""Settings of the worker."""

from __future__ import annotations

import pytest

from splitnet.cloud.cli import _DIRECTORY_OPTIONS, _OPTIONS
from splitnet.cloud.config import CloudConfig, DirectorySettings
from splitnet.config import load_config
from splitnet.errors import ConfigError


def test_every_setting_has_an_option() -> None:
    assert set(_OPTIONS) == set(CloudConfig.__dataclass_fields__)
    assert set(_DIRECTORY_OPTIONS) == set(DirectorySettings.__dataclass_fields__)


def test_the_default_is_loopback() -> None:
    assert "127.0.0.1" in load_config(CloudConfig, "cloud", options={"bundle": "b"}).bind


def test_values_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match="--max-batch is 0, it must be above 0"):
        load_config(CloudConfig, "cloud", options={"bundle": "b", "max_batch": "0"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_chunk_bytes", 100, "--max-chunk-bytes is 100, must be an integer 512 to 67108864"),
        ("max_chunk_bytes", 999999999, "--max-chunk-bytes is 999999999, must be"),
        ("max_request_bytes", 99999999999, "--max-request-bytes is 9+, must be .* to 4294967295"),
    ],
)
def test_sizes_are_those_of_the_wire(name: str, value: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(CloudConfig, "cloud", options={"bundle": "b", name: value})


def test_a_directory_s_longest_lease_is_finite() -> None:
    with pytest.raises(ConfigError, match="--max-lease-s is inf"):
        load_config(DirectorySettings, "directory", options={"max_lease_s": "inf"})


@pytest.mark.parametrize("lease_s", ["0.01", "1e9", "nan"])
def test_a_lease_is_bounded(lease_s: str) -> None:
    with pytest.raises(ConfigError, match=r"--lease-s is .*, it must be from 0\.1 to 3600"):
        load_config(CloudConfig, "cloud", options={"bundle": "b", "lease_s": lease_s})
