from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.codecs import Array, Context, header_of, make_codec
from splitnet.codecs.calibrating import Calibrated, calibrate
from splitnet.codecs.embedded import Embedded
from splitnet.codecs.native import NO_ACCELERATOR, accelerator
from splitnet.errors import CodecError, CorruptPayloadError, MissingTableError

STEP, SCALES, CHANNELS = 0.5, (9, 3, 1), (2, 4, 4)


def latents(count: int, seed: int = 0) -> list[Array]:
    """Return arrays (1, 5, 4, 6) spread around zero, the first channels most."""
    rng = np.random.default_rng(seed)
    spread = np.array([6.0, 3.0, 2.0, 1.0, 1.0])[:, None, None]
    return list((rng.laplace(size=(count, 1, 5, 4, 6)) * spread).astype(np.float32))


@pytest.fixture(scope="module")
def fitted() -> Calibrated:
    config = {"id": "embedded", "step": STEP, "scales": SCALES, "channels": CHANNELS}
    return calibrate(config, latents(60))


def nearest(array: Array, parts: int) -> Array:
    """Return the nearest multiples of the step of the last part, zero beyond its channels."""
    step = STEP * SCALES[parts - 1]
    found = np.rint(array.astype(np.float64) / step) * step
    found[:, CHANNELS[parts - 1] :] = 0
    return found.astype(np.float32)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_each_number_of_parts_gives_the_nearest_multiples_of_its_step(
    fitted: Calibrated, parts: int
) -> None:
    codec = make_codec(fitted.config)
    for array in latents(10, seed=1):
        sent = codec.encode_parts(array, fitted.context)
        found = codec.decode_parts(sent[:parts], header_of(array), fitted.context)
        assert np.array_equal(found, nearest(array, parts))


def test_coder_in_python_makes_the_same_parts(
    fitted: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, (array,) = make_codec(fitted.config), latents(1, seed=2)
    sent = codec.encode_parts(array, fitted.context)
    monkeypatch.setenv(NO_ACCELERATOR, "1")
    accelerator.cache_clear()
    try:
        assert codec.encode_parts(array, fitted.context) == sent
        found = codec.decode_parts(sent, header_of(array), fitted.context)
    finally:
        monkeypatch.undo()
        accelerator.cache_clear()
    assert np.array_equal(found, nearest(array, 3))


def test_what_came_before_makes_refinements_shorter(fitted: Calibrated) -> None:
    codec, arrays = make_codec(fitted.config), latents(40, seed=3)
    sent = sum(len(b"".join(codec.encode_parts(array, fitted.context))) for array in arrays)
    apart = 0
    for scale, channels in zip(SCALES, CHANNELS, strict=True):
        steps = np.rint(np.concatenate(arrays)[:, :channels] / (STEP * scale)).astype(int)
        symbols = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype(np.uint8)
        alone = calibrate({"id": "rans-neighbours"}, [symbols])
        plain = make_codec(alone.config)
        apart += sum(len(plain.encode(symbols[i : i + 1], alone.context)) for i in range(40))
    assert sent < 0.85 * apart


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_values_beyond_the_largest_symbol_are_clipped(seed: int, parts: int) -> None:
    wide = {"id": "embedded", "step": 1.0, "scales": [3, 3, 1], "channels": [3, 3, 3]}
    rng = np.random.default_rng(seed)
    array = (rng.laplace(size=(1, 3, 2, 3)) * 200).astype(np.float32)
    fitted = calibrate(wide, [array])
    codec = make_codec(fitted.config)
    sent = codec.encode_parts(array, fitted.context)
    found = codec.decode_parts(sent[:parts], header_of(array), fitted.context)
    largest = 127 * sum((3, 3, 1)[:parts])
    assert np.abs(found).max() <= largest
    inside = np.abs(array) < 127 * 3
    assert (np.abs(found - array)[inside] <= (1.5, 1.5, 0.5)[parts - 1]).all()


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_damaged_part_is_refused_or_decodes_to_something_else(
    fitted: Calibrated, at: int
) -> None:
    codec, (array,) = make_codec(fitted.config), latents(1, seed=4)
    sent = codec.encode_parts(array, fitted.context)
    for damaged in (sent[at][:-1], sent[at] + b"\0", b"", b"\xff" * len(sent[at])):
        parts = [damaged if i == at else part for i, part in enumerate(sent)]
        with pytest.raises(CorruptPayloadError):
            codec.decode_parts(parts, header_of(array), fitted.context)


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (4,), ()])
def test_other_shapes_are_refused(fitted: Calibrated, shape: tuple[int, ...]) -> None:
    codec = make_codec(fitted.config)
    with pytest.raises(CodecError, match="at least 4 channels"):
        codec.encode_parts(np.zeros(shape, np.float32), fitted.context)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(fitted: Calibrated, value: float) -> None:
    array = np.zeros((1, 5, 4, 6), np.float32)
    array[0, 0, 0, 0] = value
    with pytest.raises(CodecError, match="NaN or infinity"):
        make_codec(fitted.config).encode(array, fitted.context)


def test_without_tables_nothing_is_coded(fitted: Calibrated) -> None:
    (array,) = latents(1)
    config = {key: value for key, value in fitted.config.items() if key != "tables"}
    with pytest.raises(CodecError, match="calibrate"):
        make_codec(config).encode(array)
    with pytest.raises(MissingTableError):
        make_codec(fitted.config).encode(array, Context({}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 0.0}, "step is 0"),
        ({"scales": [2, 1]}, "odd multiple"),
        ({"scales": [9, 6, 1]}, "odd multiple"),
        ({"scales": [3, 3]}, "down to 1"),
        ({"scales": [1]}, "2 to 8 steps"),
        ({"scales": [99999, 1]}, "at most 32768"),
        ({"channels": [4, 2, 4]}, "none below"),
        ({"channels": [4, 4]}, "must be 3 numbers"),
        ({"channels": [0, 4, 4]}, "from 1"),
        ({"tables": ["00"]}, "1 tables for 3 parts"),
        ({"tables": ["xx", "yy", "zz"]}, "64 hexadecimal digits"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], message: str) -> None:
    config = {"id": "embedded", "step": STEP, "scales": SCALES, "channels": CHANNELS, **change}
    with pytest.raises(CodecError, match=message):
        make_codec(config)


def test_tables_are_named_once(fitted: Calibrated) -> None:
    codec = make_codec(fitted.config)
    assert isinstance(codec, Embedded)
    assert set(codec.tables) == set(fitted.tables)
    assert codec.parts == 3
