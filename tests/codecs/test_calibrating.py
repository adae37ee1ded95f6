"""Ranges, levels and tables from calibration data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from splitnet.codecs import header_of, make_codec
from splitnet.codecs.calibrating import calibrate
from splitnet.codecs.codebook import fit_levels
from splitnet.errors import CodecError

RANDOM = np.random.default_rng(0)
SCALES = np.array([0.5, 1, 2, 4], np.float32)[:, None, None]
ARRAYS = [
    (np.maximum(RANDOM.laplace(size=(1, 4, 16, 16)), 0) * SCALES).astype(np.float32)
    for _ in range(8)
]


@pytest.mark.parametrize(
    "config",
    [
        {"id": "affine", "bits": 4, "clip": "mse"},
        {"id": "affine", "bits": 4, "clip": "percentile", "per_channel": True},
        {"id": "symmetric", "bits": 4, "clip": "aciq"},
        {"id": "refined", "bits": 2, "refinements": 3},
        {"id": "codebook", "bits": 3},
        {"id": "codebook", "bits": 3, "per_channel": True},
        {"id": "pipeline", "codecs": [{"id": "affine", "bits": 3}, {"id": "rans"}]},
        {
            "id": "pipeline",
            "codecs": [{"id": "affine", "bits": 3}, {"id": "rans", "per_channel": True}],
        },
        {"id": "pipeline", "codecs": [{"id": "affine", "bits": 3}, {"id": "rans-blocks"}]},
        {"id": "store"},
    ],
)
def test_what_was_calibrated_works_without_sides(config: dict[str, Any]) -> None:
    found = calibrate(config, ARRAYS)
    codec = make_codec(found.config)
    data = codec.encode(ARRAYS[0], found.context)
    decoded = codec.decode(data, header_of(ARRAYS[0]), found.context)
    assert np.square(decoded - ARRAYS[0]).mean() < 0.35 * np.square(ARRAYS[0]).mean()


def test_levels_are_better_than_even_steps_and_keep_zero() -> None:
    rows = np.concatenate(ARRAYS).reshape(1, -1)
    levels = np.array(fit_levels(rows, 2)[0])
    assert levels[0] == 0
    even = make_codec(calibrate({"id": "affine", "bits": 2, "clip": "mse"}, ARRAYS).config)
    own = make_codec(calibrate({"id": "codebook", "bits": 2}, ARRAYS).config)
    errors = [
        np.square(codec.decode(codec.encode(rows), header_of(rows)) - rows).mean()
        for codec in (even, own)
    ]
    assert errors[1] < errors[0] * 0.9


def test_a_constant_row_has_one_level() -> None:
    assert fit_levels(np.full((1, 9), 2.5, np.float32), 1) == [[2.5, 2.5]]


@pytest.mark.parametrize(
    "config",
    [
        {"id": "codebook", "bits": 1, "levels": []},
        {"id": "codebook", "bits": 1, "levels": [[0.0]]},
        {"id": "codebook", "bits": 1, "levels": [[1.0, 0.0]]},
        {"id": "codebook", "bits": 1, "levels": [[0.0, 1e39]]},
    ],
)
def test_wrong_levels_are_named(config: dict[str, Any]) -> None:
    with pytest.raises(CodecError, match="level"):
        make_codec(config)


def test_calibration_needs_data() -> None:
    with pytest.raises(CodecError, match="at least one array"):
        calibrate({"id": "affine"}, [])


def test_slices_of_rows_get_tables_and_the_means_of_the_channels() -> None:
    stages = [{"id": "affine", "bits": 3}, {"id": "rans", "per_channel": True}]
    inner = {"id": "pipeline", "codecs": stages}
    found = calibrate({"id": "sliced", "slices": 3, "axis": 2, "codec": inner}, ARRAYS)
    codec = make_codec(found.config)
    assert codec.tables == tuple(found.tables)
    np.testing.assert_allclose(found.config["mean"], np.concatenate(ARRAYS).mean(axis=(0, 2, 3)))
    data = [codec.encode(array, found.context) for array in ARRAYS]
    headers = [header_of(array) for array in ARRAYS]
    together = codec.decode_batch(data, headers, found.context)
    for decoded, payload, header in zip(together, data, headers, strict=True):
        assert np.array_equal(decoded, codec.decode(payload, header, found.context))


def test_a_prefix_of_channels_gets_tables_of_its_own() -> None:
    stages = [
        {"id": "first-channels", "channels": 2},
        {"id": "symmetric", "bits": 8, "largest": [127.0]},
        {"id": "rans", "per_channel": True},
    ]
    found = calibrate({"id": "pipeline", "codecs": stages}, ARRAYS)
    codec = make_codec(found.config)
    data = codec.encode(ARRAYS[0], found.context)
    decoded = codec.decode(data, header_of(ARRAYS[0]), found.context)
    assert np.array_equal(decoded[:, :2], np.rint(ARRAYS[0][:, :2]))
    assert not decoded[:, 2:].any()
