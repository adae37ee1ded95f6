"""Codecs from configurations."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from splitnet import registry
from splitnet.codecs import Header, make_codec
from splitnet.errors import CodecError, UnknownCodecError


def test_equal_configurations_share_one_codec() -> None:
    one = make_codec({"id": "lz4", "level": 3, "acceleration": 2})
    assert make_codec({"acceleration": 2, "id": "lz4", "level": 3}) is one


def test_an_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(UnknownCodecError) as error:
        make_codec({"id": "afine"})
    message = str(error.value)
    assert "did you mean 'affine'" in message
    assert all(name in message for name in registry.names("codecs"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id": "affine", "bit": 8}, "unknown key 'bit' .did you mean 'bits'"),
        ({"id": "affine", "bits": "8"}, "bits is '8', must be int"),
        ({"id": "affine", "bits": True}, "must be int"),
        ({"id": "affine", "bits": 8.0}, "must be int"),
        ({"id": "pipeline", "codecs": []}, "empty"),
        ({"id": "pipeline", "codecs": [8]}, "codecs is"),
        ({"id": "pipeline", "codecs": [{"id": "lz4", "bits": 8}]}, "lz4: unknown key 'bits'"),
        ({"bits": 8}, 'with an "id"'),
        ({"id": 8}, 'with an "id"'),
        ({"id": "affine", "bits": {1}}, "not JSON"),
        ({"id": "affine", "bits": float("nan")}, "not JSON"),
    ],
)
def test_a_wrong_configuration_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        make_codec(config)


def test_only_transforms_stand_in_front() -> None:
    with pytest.raises(CodecError, match=r"'lz4' is no transform, it must come last"):
        make_codec({"id": "pipeline", "codecs": [{"id": "lz4"}, {"id": "store"}]})


def test_a_pipeline_may_hold_a_pipeline() -> None:
    inner = {"id": "pipeline", "codecs": [{"id": "pack", "bits": 6}, {"id": "lz4"}]}
    codec = make_codec({"id": "pipeline", "codecs": [{"id": "affine", "bits": 6}, inner]})
    array = np.zeros((3, 5), np.float32)
    assert np.array_equal(codec.decode(codec.encode(array), Header("float32", (3, 5))), array)


def test_codecs_are_imported_on_first_use() -> None:
    program = "import splitnet.codecs, sys; sys.exit('lz4' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
