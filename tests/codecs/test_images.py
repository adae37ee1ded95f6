"""Inputs as image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.codecs import Header, header_of, make_codec
from splitnet.codecs.pixels import pixels_config
from splitnet.errors import CodecError, CorruptPayloadError
from splitnet.runtime.preprocess import parse_steps, prepare

Y, X = np.mgrid[0:40, 0:48]
IMAGE = np.stack([X * 5, Y * 6, (X + Y) * 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    "text",
    [
        "scale=255,layout=chw",
        "scale=127.5,mean=1:1:1,std=1:1:1,layout=chw",
        "resize=32,crop=30,scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw",
    ],
)
@pytest.mark.parametrize("last", [{"id": "png"}, {"id": "webp", "lossless": True}])
def test_a_prepared_input_comes_back_bit_by_bit(text: str, last: dict[str, Any]) -> None:
    steps = parse_steps(text)
    tensor = prepare(IMAGE, steps)
    codec = make_codec({"id": "pipeline", "codecs": [pixels_config(steps), last]})
    found = codec.decode(codec.encode(tensor), header_of(tensor))
    assert np.array_equal(found, tensor)


@pytest.mark.parametrize("last", [{"id": "jpeg", "quality": 90}, {"id": "webp", "quality": 90}])
def test_lossy_files_are_small_and_near(last: dict[str, Any]) -> None:
    codec = make_codec(last)
    data = codec.encode(IMAGE)
    assert len(data) < IMAGE.size / 4
    error = codec.decode(data, header_of(IMAGE)).astype(int) - IMAGE
    assert np.abs(error).mean() < 6


@pytest.mark.parametrize("text", ["", "scale=255", "scale=255,resize=32,layout=chw", "layout=chw"])
def test_preprocessing_that_cannot_be_undone_is_named(text: str) -> None:
    with pytest.raises(CodecError, match="cannot be undone"):
        pixels_config(parse_steps(text))


def test_values_that_are_no_pixels_are_refused() -> None:
    codec = make_codec({"id": "pixels"})
    with pytest.raises(CodecError, match="exceeds 0 to 255"):
        codec.encode(np.full((1, 3, 2, 2), 1.5, np.float32))


def test_the_size_in_the_file_is_checked_before_the_pixels_are_read() -> None:
    for codec_id in ("jpeg", "png", "webp"):
        codec = make_codec({"id": codec_id})
        with pytest.raises(CorruptPayloadError, match="40 x 48 pixels, 40 x 40 are needed"):
            codec.decode(codec.encode(IMAGE), Header("uint8", (40, 40, 3)))


def test_files_of_other_formats_are_refused(tmp_path: Path) -> None:
    data = make_codec({"id": "png"}).encode(IMAGE)
    with pytest.raises(CorruptPayloadError):
        make_codec({"id": "webp"}).decode(data, header_of(IMAGE))


def test_grey_images_have_one_channel_or_none() -> None:
    for codec_id in ("jpeg", "png", "webp"):
        codec = make_codec({"id": codec_id})
        for array in (IMAGE[:, :, 0], IMAGE[:, :, :1]):
            assert codec.decode(codec.encode(array), header_of(array)).shape == array.shape


@pytest.mark.parametrize(
    "config",
    [
        {"id": "jpeg", "quality": 0},
        {"id": "jpeg", "subsampling": "4:1:1"},
        {"id": "webp", "method": 7},
        {"id": "png", "level": 10},
        {"id": "pixels", "scale": 0.0},
        {"id": "pixels", "mean": [0.0, 0.0], "std": [1.0, 1.0]},
    ],
)
def test_wrong_settings_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(CodecError, match="must be"):
        make_codec(config)
