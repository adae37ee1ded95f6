"""One kit for every registered codec; a new codec adds its configurations to ``CASES``."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet import registry
from splitnet.codecs import Array, Codec, Header, header_of, make_codec
from splitnet.errors import CodecError, CorruptPayloadError
from splitnet.values import DTYPE_BYTES

Config = dict[str, Any]

CASES: list[Config] = [
    {"id": "store"},
    {"id": "affine", "bits": 8},
    {"id": "affine", "bits": 4},
    {"id": "affine", "bits": 3},
    {"id": "affine", "bits": 1},
    {"id": "lz4", "level": 0, "acceleration": 1},
    {"id": "lz4", "level": 9, "acceleration": 1},
    {"id": "pipeline", "codecs": [{"id": "store"}]},
    {"id": "pipeline", "codecs": [{"id": "affine", "bits": 8}, {"id": "lz4"}]},
    {"id": "pipeline", "codecs": [{"id": "affine", "bits": 5}, {"id": "store"}, {"id": "lz4"}]},
]

SHAPES = [(), (0,), (1,), (7,), (3, 0, 2), (2, 3, 4), (1, 4, 5, 6)]

SAMPLE = (np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7) / 4
"""Finite, small enough to try every bit of its payload."""


@pytest.fixture(params=CASES, ids=lambda config: json.dumps(config))
def codec(request: pytest.FixtureRequest) -> Codec:
    config: Config = request.param
    return make_codec(config)


def test_every_registered_codec_has_a_case() -> None:
    assert {config["id"] for config in CASES} == set(registry.names("codecs"))


def bits_of(codec: Codec) -> int | None:
    """Bits of a symbol of the quantiser inside `codec`, ``None`` if it is lossless."""
    if codec.id == "pipeline":
        stages = codec.to_json()["codecs"]
        return next((stage["bits"] for stage in stages if stage["id"] == "affine"), None)
    bits: int | None = codec.to_json().get("bits")
    return bits


def check_round_trip(codec: Codec, array: Array) -> None:
    """Encode, decode, and compare: exactly, or within the bound that the quantiser states."""
    data = codec.encode(array)
    header = header_of(array)
    found = codec.decode(data, header)
    assert header_of(found) == header
    promised = codec.encoded_header(header)
    assert promised is None or promised == Header("uint8", (len(data),))
    bits = bits_of(codec)
    if bits is None or array.size == 0:
        assert found.tobytes() == array.astype(header.dtype).tobytes()
        return
    values, decoded = array.astype(np.float64), found.astype(np.float64)
    step = (values.max() - values.min()) / (2**bits - 1)
    rounding = 4 * float(np.finfo(array.dtype).eps) * np.abs(values).max()
    smallest = 256 * float(np.finfo(array.dtype).smallest_subnormal)
    assert np.abs(values - decoded).max() <= step * 0.5001 + rounding + smallest


def test_config_round_trips_through_json(codec: Codec) -> None:
    text = json.dumps(codec.to_json())
    again = make_codec(json.loads(text))
    assert again.to_json() == codec.to_json()
    assert again.config == codec.config


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_dtype_and_shape_works_or_is_refused(
    codec: Codec, dtype: str, shape: tuple[int, ...]
) -> None:
    array = (np.random.default_rng(0).random(shape) * 2).astype(dtype)
    if bits_of(codec) is not None and dtype not in ("float32", "float16"):
        with pytest.raises(CodecError, match=dtype):
            codec.encode(array)
        with pytest.raises(CodecError, match=dtype):
            codec.decode(b"\x00" * 16, header_of(array))
    else:
        check_round_trip(codec, array)


@pytest.mark.parametrize("dtype", ["float64", "complex64", "uint32", "datetime64[s]", "object"])
def test_other_dtypes_are_refused(codec: Codec, dtype: str) -> None:
    with pytest.raises(CodecError, match="may not cross"):
        codec.encode(np.zeros(3, dtype))


@pytest.mark.parametrize(
    "array",
    [
        SAMPLE.T,
        SAMPLE[:, ::2, ::-1],
        SAMPLE.astype(">f4"),
        np.asfortranarray(SAMPLE),
        np.broadcast_to(np.float32(3), (4, 5)),
        np.zeros((3, 3), np.float32),
        np.full(9, -0.25, np.float32),
        np.array([-3.4028235e38, 0, 3.4028235e38], np.float32),
        np.array([1e-45, 0, 3e-44, 1e-42], np.float32),
        np.array([1e8, 1e8 + 8, 1e8 + 64], np.float32),
        np.array([-65504, 65504, 0], np.float16),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_odd_layouts_and_ranges(codec: Codec, array: Array) -> None:
    check_round_trip(codec, array)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_and_infinity_are_kept_or_refused(codec: Codec, dtype: str, value: float) -> None:
    array = np.zeros(40, dtype)
    array[17] = value
    if bits_of(codec) is None:
        check_round_trip(codec, array)
    else:
        with pytest.raises(CodecError, match="NaN or infinity"):
            codec.encode(array)


@given(
    array=hnp.arrays(
        dtype=hnp.floating_dtypes(endianness="=", sizes=(16, 32)),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    config=st.sampled_from(CASES),
)
def test_any_finite_array_round_trips(array: Array, config: Config) -> None:
    check_round_trip(make_codec(config), array)


def decode_or_refuse(codec: Codec, data: bytes, header: Header) -> None:
    """Decode damaged bytes: the result has the right header, or the error is the right one."""
    try:
        found = codec.decode(data, header)
    except CorruptPayloadError:
        return
    assert header_of(found) == header


def test_truncated_and_lengthened_payloads_are_refused(codec: Codec) -> None:
    data = codec.encode(SAMPLE)
    for length in range(len(data)):
        with pytest.raises(CorruptPayloadError):
            codec.decode(data[:length], header_of(SAMPLE))
    for excess in (b"\x00", b"\xff" * 9):
        with pytest.raises(CorruptPayloadError):
            codec.decode(data + excess, header_of(SAMPLE))


def test_flipped_bits_never_break_the_decoder(codec: Codec) -> None:
    for array in (SAMPLE, SAMPLE.astype(np.float16), np.zeros((2, 3, 40), np.float32)):
        data = codec.encode(array)
        for position in range(len(data)):
            for bit in range(8):
                damaged = bytearray(data)
                damaged[position] ^= 1 << bit
                decode_or_refuse(codec, bytes(damaged), header_of(array))


@given(
    data=st.binary(max_size=200),
    config=st.sampled_from(CASES),
    dtype=st.sampled_from(["float32", "float16"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=8),
)
def test_random_bytes_never_break_the_decoder(
    data: bytes, config: Config, dtype: str, shape: tuple[int, ...]
) -> None:
    decode_or_refuse(make_codec(config), data, Header(dtype, shape))


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01", b"\x01" + b"\xff" * 60, b"\x00" * 100])
def test_a_lie_about_the_size_allocates_nothing(codec: Codec, data: bytes) -> None:
    header = Header("float32", (4, 1024, 1024))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptPayloadError):
            codec.decode(data, header)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_every_buffer_type_is_decoded(codec: Codec) -> None:
    data = codec.encode(SAMPLE)
    expected = codec.decode(data, header_of(SAMPLE))
    shifted = memoryview(b"." + data)[1:]
    for buffer in (bytearray(data), memoryview(data), shifted):
        found = codec.decode(buffer, header_of(SAMPLE))
        assert np.array_equal(found, expected)
        assert found.flags.aligned


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float64", (1,)), ("float32", (-1, 4)), ("int64", (2**28,))]
)
def test_a_header_beyond_the_limits_cannot_be_made(dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError):
        Header(dtype, shape)
