"""Where quantisers clip, against what the rules promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from splitnet.codecs import Array, header_of, make_codec
from splitnet.codecs.clipping import clip_range
from splitnet.errors import CodecError

RANDOM = np.random.default_rng(0)
RELU = np.maximum(RANDOM.laplace(size=40_000), 0).astype(np.float32)[None]
SIGNED = RANDOM.laplace(size=40_000).astype(np.float32)[None]


def squared_error(array: Array, config: dict[str, Any]) -> float:
    codec = make_codec(config)
    return float(((codec.decode(codec.encode(array), header_of(array)) - array) ** 2).mean())


def test_percentile_leaves_out_the_tail() -> None:
    low, high = clip_range(RELU, "percentile", 16, 0.99)
    assert low[0] == 0
    assert (high[0] < RELU).mean() == pytest.approx(0.01, abs=1e-3)
    low, high = clip_range(SIGNED, "percentile", 16, 0.99)
    assert (low[0] > SIGNED).mean() == pytest.approx(0.005, abs=1e-3)
    assert (high[0] < SIGNED).mean() == pytest.approx(0.005, abs=1e-3)


@pytest.mark.parametrize(("bits", "ratio"), [(2, 2.83), (3, 3.89), (4, 5.03)])
def test_aciq_clips_laplace_where_the_paper_does(bits: int, ratio: float) -> None:
    low, high = clip_range(SIGNED, "aciq", 2**bits, 1)
    assert high[0] == pytest.approx(ratio, rel=0.03)
    assert low[0] == pytest.approx(-ratio, rel=0.03)


@pytest.mark.parametrize(("bits", "ratio"), [(2, 3.89), (3, 5.03)])
def test_aciq_gives_all_levels_to_one_side_behind_a_relu(bits: int, ratio: float) -> None:
    low, high = clip_range(RELU, "aciq", 2**bits, 1)
    assert low[0] == 0
    assert high[0] == pytest.approx(ratio, rel=0.03)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("array", [RELU, SIGNED], ids=["relu", "signed"])
def test_mse_is_the_best_of_the_rules(bits: int, array: Array) -> None:
    best = squared_error(array, {"id": "affine", "bits": bits, "clip": "mse"})
    for clip in ("min-max", "percentile", "aciq"):
        other = squared_error(array, {"id": "affine", "bits": bits, "clip": clip})
        assert best <= other * 1.02


def test_a_range_for_each_channel_helps_channels_that_differ() -> None:
    array = RELU.reshape(1, 4, 100, 100) * np.array([0.1, 1, 5, 20], np.float32)[:, None, None]
    whole = squared_error(array[:, :2], {"id": "affine", "bits": 4})
    parted = squared_error(array[:, :2], {"id": "affine", "bits": 4, "per_channel": True})
    assert parted < whole


def test_a_fixed_range_costs_no_bytes_and_clips() -> None:
    codec = make_codec({"id": "affine", "bits": 8, "low": [0.0], "high": [2.0]})
    array = np.array([-1, 0, 1, 2, 9], np.float32)
    data = codec.encode(array)
    assert len(data) == 5
    assert codec.decode(data, header_of(array)) == pytest.approx([0, 0, 1, 2, 2], abs=0.005)


def test_fixed_ranges_of_channels_must_be_as_many() -> None:
    codec = make_codec({"id": "symmetric", "per_channel": True, "largest": [1.0, 2.0]})
    array = np.full((1, 2, 2), 1.5, np.float32)
    found = codec.decode(codec.encode(array), header_of(array))
    assert found.reshape(2, 2)[:, 0] == pytest.approx([1, 1.5], abs=0.01)
    with pytest.raises(CodecError, match="2 ranges are fixed"):
        codec.encode(np.zeros((1, 3, 2), np.float32))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id": "affine", "clip": "acic"}, "did you mean .aciq."),
        ({"id": "affine", "share": 0.0}, "share is 0.0"),
        ({"id": "affine", "low": [1.0], "high": [0.0]}, "low is above high"),
        ({"id": "affine", "low": [1.0]}, "fixed ranges have"),
        ({"id": "affine", "low": [0.0, 0.0], "high": [1.0, 1.0]}, "set per_channel"),
        ({"id": "affine", "low": [0.0], "high": [1e39]}, "not finite"),
        ({"id": "symmetric", "bits": 1}, "from 2 to 8"),
        ({"id": "symmetric", "largest": [-1.0]}, "below 0"),
    ],
)
def test_wrong_ranges_are_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        make_codec(config)
