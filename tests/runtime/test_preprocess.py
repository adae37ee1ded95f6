"""Every preprocessing step, its text form and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.errors import ConfigError, TensorMismatchError
from splitnet.runtime.preprocess import default_steps, parse_steps, prepare


def image(height: int, width: int, channels: int | None = 3) -> NDArray[np.uint8]:
    """A ramp from left to right, the same in all channels."""
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    plane = np.broadcast_to(ramp, (height, width))
    return plane if channels is None else np.repeat(plane[:, :, np.newaxis], channels, axis=2)


def test_the_text_form_of_an_imagenet_recipe() -> None:
    text = "resize=256,crop=224,scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw"
    assert parse_steps(text) == (
        {"op": "resize", "size": 256},
        {"op": "crop", "size": 224},
        {"op": "scale", "by": 255.0},
        {"op": "mean", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        {"op": "layout", "to": "CHW"},
    )
    steps = parse_steps(text)
    assert prepare(image(300, 400), steps).shape == (1, 3, 224, 224)


def test_pairs_and_letterbox_in_text() -> None:
    assert parse_steps("resize=20x30, letterbox=416") == (
        {"op": "resize", "size": [20, 30]},
        {"op": "letterbox", "size": 416, "fill": 114},
    )
    assert parse_steps("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rezise=3", "unknown step 'rezise'.*did you mean 'resize'"),
        ("resize", "'' is not a number"),
        ("resize=big", "'big' is not a number"),
        ("resize=0", "size"),
        ("crop=2x3", "size"),
        ("scale=0", "by"),
        ("layout=hwc", "CHW"),
        ("channels=rgb", "BGR"),
        ("channels", "BGR"),
        ("std=1", "must follow mean"),
        ("mean=1:2", "std"),
        ("mean=1:2,std=1", "2 means but 1"),
        ("mean=nan,std=1", "mean"),
    ],
)
def test_what_the_text_form_refuses(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_steps(text)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(40, 80, (20, 40)), (80, 40, (40, 20)), (33, 33, (20, 20))]
)
def test_resize_makes_the_short_side_as_long_as_asked(
    height: int, width: int, expected: tuple[int, int]
) -> None:
    resized = prepare(image(height, width), ({"op": "resize", "size": 20},))
    assert resized.shape == (1, *expected, 3)


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_resize_of_any_number_of_channels(channels: int | None, dtype: str) -> None:
    sample = image(16, 64, channels).astype(dtype)
    resized = prepare(sample, ({"op": "resize", "size": [8, 32]},))[0]
    assert resized.shape == (8, 32) + (() if channels is None else (channels,))
    assert resized.dtype == dtype
    inner = resized[2, 2:-2].astype(float).reshape(28, -1)
    assert (np.diff(inner, axis=0) > 0).all()
    assert (inner.max(axis=1) - inner.min(axis=1) == 0).all()


def test_crop_takes_the_centre() -> None:
    cropped = prepare(np.arange(25, dtype=np.uint8).reshape(5, 5), ({"op": "crop", "size": 3},))
    assert cropped[0].tolist() == [[6, 7, 8], [11, 12, 13], [16, 17, 18]]
    with pytest.raises(TensorMismatchError, match="2x5 pixels is too small for a crop of 3"):
        prepare(np.zeros((2, 5), np.uint8), ({"op": "crop", "size": 3},))


def test_letterbox_keeps_the_aspect_and_fills_below() -> None:
    step = {"op": "letterbox", "size": 64, "fill": 114}
    framed = prepare(np.full((16, 32, 3), 7, np.uint8), (step,))[0]
    assert framed.shape == (64, 64, 3)
    assert (framed[:32] == 7).all()
    assert (framed[32:] == 114).all()


@pytest.mark.parametrize(
    ("height", "width", "inner"), [(100, 100, (20, 20)), (10, 80, (5, 40)), (80, 10, (20, 2))]
)
def test_letterbox_of_two_sides_is_filled_with_grey(
    height: int, width: int, inner: tuple[int, int]
) -> None:
    sample = np.full((height, width, 3), 7, np.uint8)
    framed = prepare(sample, ({"op": "letterbox", "size": [20, 40]},))[0]
    assert framed.shape == (20, 40, 3)
    assert (framed[: inner[0], : inner[1]] == 7).all()
    assert (framed == 114).sum() == 3 * (20 * 40 - inner[0] * inner[1])


def test_channels_of_an_image_from_disk_for_a_network_trained_by_opencv() -> None:
    sample = np.zeros((1, 2, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    steps = parse_steps("letterbox=2,channels=bgr,scale=1,layout=chw")
    assert steps[1] == {"op": "channels", "order": "BGR"}
    prepared = prepare(sample, steps)
    assert prepared.dtype == np.float32
    assert prepared[0, :, 0].tolist() == [[30, 30], [20, 20], [10, 10]]


def test_scale_mean_and_layout() -> None:
    sample = np.full((2, 3, 2), 255, np.uint8)
    steps = parse_steps("scale=255,mean=0.5:1,std=0.25:2,layout=chw")
    prepared = prepare(sample, steps)
    assert prepared.shape == (1, 2, 2, 3)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    np.testing.assert_array_equal(prepared[0, 0], np.full((2, 3), 2, np.float32))
    np.testing.assert_array_equal(prepared[0, 1], np.zeros((2, 3), np.float32))


def test_a_grey_image_gets_a_channel() -> None:
    assert prepare(image(4, 6, None), parse_steps("scale=255,layout=chw")).shape == (1, 1, 4, 6)
    assert prepare(image(4, 6, None), parse_steps("scale=1,mean=0,std=1")).shape == (1, 4, 6)


def test_the_defaults() -> None:
    assert prepare(image(4, 6), default_steps("uint8")).shape == (1, 3, 4, 6)
    assert prepare(np.zeros((3, 4, 6), np.float32), default_steps("float32")).shape == (1, 3, 4, 6)


@pytest.mark.parametrize(
    ("sample", "text", "message"),
    [
        (np.zeros(5, np.uint8), "scale=255", r"shape \(5,\) is not an image"),
        (np.zeros((1, 2, 3, 4), np.uint8), "scale=255", "is not an image"),
        (np.zeros((4, 4), np.float64), "scale=255", "dtype float64 is not accepted"),
        (np.zeros((4, 4), np.float64), "", "dtype float64 is not accepted"),
        (np.zeros((4, 4), np.uint8), "channels=bgr", r"'channels' needs .* found \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), "channels=bgr", "needs an image of 3 channels"),
        (np.zeros((4, 5, 3), np.uint8), "layout=chw,channels=bgr", "put it before layout"),
        (np.array([["a"]]), "", "is not accepted"),
        (np.zeros((4, 4), np.int32), "resize=2", "only uint8 and float32"),
        (np.zeros((4, 4, 3), np.uint8), "mean=1:2:3,std=1:1:1", "put scale first"),
        (
            np.zeros((4, 4), np.float32),
            "scale=255",
            "needs whole numbers, the sample is float32; give uint8 samples, or build .* without",
        ),
        (np.zeros((4, 4, 1), np.uint8), "scale=1,mean=1:2:3,std=1:1:1", "has 1 channels"),
    ],
)
def test_samples_that_do_not_fit(sample: Any, text: str, message: str) -> None:
    with pytest.raises(TensorMismatchError, match=message):
        prepare(sample, parse_steps(text))
