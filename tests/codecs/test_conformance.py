"""One kit for every registered codec; its cases stand in cases.py."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet import registry
from splitnet.codecs import Array, Header, header_of, make_codec
from splitnet.errors import CodecError, CorruptPayloadError, MissingReferenceError
from splitnet.values import DTYPE_BYTES
from tests.codecs.cases import CASES, Case

SHAPES = [(), (0,), (1,), (7,), (3, 0, 2), (2, 3, 4), (1, 4, 5, 6), (4, 5, 3), (1, 3, 4, 5)]


def test_every_registered_codec_has_a_case() -> None:
    assert {case.config["id"] for case in CASES} == set(registry.names("codecs"))


def check_round_trip(case: Case, array: Array) -> None:
    """Encode, decode, and compare: exactly, or as the case says."""
    data = case.codec.encode(array, case.context)
    header = header_of(array)
    found = case.codec.decode(data, header, case.context)
    assert header_of(found) == header
    promised = case.codec.encoded_header(header)
    assert promised is None or promised == Header("uint8", (len(data),))
    if case.check is None or array.size == 0:
        assert found.tobytes() == array.astype(header.dtype).tobytes()
    else:
        assert case.check(array.astype(header.dtype), found)


def test_config_round_trips_through_json(case: Case) -> None:
    text = json.dumps(case.codec.to_json())
    again = make_codec(json.loads(text))
    assert again.to_json() == case.codec.to_json()
    assert again.config == case.codec.config


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_dtype_and_shape_works_or_is_refused(
    case: Case, dtype: str, shape: tuple[int, ...]
) -> None:
    array = (np.random.default_rng(0).random(shape) * 2).astype(dtype)
    if case.takes(header_of(array)):
        check_round_trip(case, case.fit(array))
        return
    with pytest.raises(CodecError, match=f"{dtype}|axis|shape"):
        case.codec.encode(array, case.context)
    with pytest.raises(CodecError, match=f"{dtype}|axis|shape"):
        case.codec.decode(b"\x00" * 16, header_of(array), case.context)


@pytest.mark.parametrize("dtype", ["float64", "complex64", "uint32", "datetime64[s]", "object"])
def test_other_dtypes_are_refused(case: Case, dtype: str) -> None:
    with pytest.raises(CodecError, match="may not cross"):
        case.codec.encode(np.zeros((1, 3, 4, 4), dtype), case.context)


BASE = np.linspace(-1, 2, 24).reshape(2, 3, 4).astype(np.float32)


@pytest.mark.parametrize(
    "array",
    [
        BASE.T,
        BASE[:, ::2, ::-1],
        BASE.astype(">f4"),
        np.asfortranarray(BASE),
        np.broadcast_to(np.float32(3), (4, 5)),
        np.zeros((3, 3), np.float32),
        np.full((1, 9), -0.25, np.float32),
        np.array([[-3.4028235e38, 0, 3.4028235e38]], np.float32),
        np.array([[1e-45, 0, 3e-44, 1e-42]], np.float32),
        np.array([[1e8, 1e8 + 8, 1e8 + 64]], np.float32),
        np.array([[-65504, 65504, 0]], np.float16),
        np.arange(48, dtype=np.uint8).reshape(3, 4, 4).T[::-1],
        np.broadcast_to(np.uint8(3), (4, 5)),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_odd_layouts_and_ranges(case: Case, array: Array) -> None:
    if case.takes(header_of(array)):
        try:
            check_round_trip(case, case.fit(array))
        except CodecError as error:
            assert "finite" in str(error) or "exceeds" in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_and_infinity_are_kept_or_refused(case: Case, dtype: str, value: float) -> None:
    array = np.zeros((1, 3, 5, 4), dtype)
    array[0, 1, 2, 3] = value
    if not case.takes(header_of(array)):
        return
    if case.check is None or case.keeps_nan:
        found = case.codec.decode(case.codec.encode(array), header_of(array))
        assert np.array_equal(found, array, equal_nan=True)
    else:
        with pytest.raises(CodecError, match="NaN or infinity"):
            case.codec.encode(array, case.context)


quickly = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)


@given(
    array=hnp.arrays(
        dtype=st.sampled_from(
            [np.dtype(name) for name in ("float32", "float16", "uint8", "int16")]
        ),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
@quickly
def test_any_finite_array_round_trips(case: Case, array: Array) -> None:
    if case.takes(header_of(array)):
        check_round_trip(case, case.fit(array))


def decode_or_refuse(case: Case, data: bytes, header: Header) -> None:
    """Decode damaged bytes: the result has the right header, or the error is the right one."""
    try:
        found = case.codec.decode(data, header, case.context)
    except (CorruptPayloadError, MissingReferenceError):
        return
    assert header_of(found) == header


def test_truncated_and_lengthened_payloads_are_refused(case: Case) -> None:
    for array in case.samples():
        data = case.codec.encode(array, case.context)
        for length in range(len(data)):
            with pytest.raises(CorruptPayloadError):
                case.codec.decode(data[:length], header_of(array), case.context)
        for excess in (b"\x00", b"\xff" * 9):
            with pytest.raises(CorruptPayloadError):
                case.codec.decode(data + excess, header_of(array), case.context)


def test_flipped_bits_never_break_the_decoder(case: Case) -> None:
    for array in case.samples():
        data = case.codec.encode(array, case.context)
        for position in range(min(len(data), 400)):
            for bit in range(8):
                damaged = bytearray(data)
                damaged[position] ^= 1 << bit
                decode_or_refuse(case, bytes(damaged), header_of(array))


@given(
    data=st.binary(max_size=200),
    dtype=st.sampled_from(["float32", "float16", "uint8"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=8),
)
@quickly
def test_random_bytes_never_break_the_decoder(
    case: Case, data: bytes, dtype: str, shape: tuple[int, ...]
) -> None:
    header = Header(dtype, shape)
    if case.takes(header):
        decode_or_refuse(case, data, header)


LARGE = [(4, 1024, 1024), (1024, 1024, 3), (1, 3, 1024, 1024)]


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01", b"\x01" + b"\xff" * 60, b"\x00" * 100])
def test_a_lie_about_the_size_allocates_nothing(case: Case, data: bytes) -> None:
    headers = [Header(dtype, shape) for dtype in case.dtypes for shape in LARGE]
    header = next(header for header in headers if case.takes(header))
    codec = case.codec
    tracemalloc.start()
    try:
        with pytest.raises(CorruptPayloadError):
            codec.decode(data, header, case.context)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_every_buffer_type_is_decoded(case: Case) -> None:
    for array in case.samples():
        data = case.codec.encode(array, case.context)
        header = header_of(array)
        expected = case.codec.decode(data, header, case.context)
        shifted = memoryview(b"." + data)[1:]
        for buffer in (bytearray(data), memoryview(data), shifted):
            found = case.codec.decode(buffer, header, case.context)
            assert np.array_equal(found, expected)
            assert found.flags.aligned


def test_a_batch_decodes_as_its_payloads_do(case: Case) -> None:
    arrays = [*case.samples(), *case.samples()]
    datas = [case.codec.encode(array, case.context) for array in arrays]
    headers = [header_of(array) for array in arrays]
    found = case.codec.decode_batch(datas, headers, case.context)
    for data, header, one in zip(datas, headers, found, strict=True):
        assert np.array_equal(one, case.codec.decode(data, header, case.context))
    assert case.codec.decode_batch([], [], case.context) == []


def test_the_first_parts_of_an_array_are_decoded(case: Case) -> None:
    codec = case.codec
    for array in case.samples():
        parts, header = codec.encode_parts(array, case.context), header_of(array)
        assert len(parts) == codec.parts
        first = [parts[:count] for count in range(1, len(parts) + 1)]
        found = codec.decode_parts_batch(first, [header] * len(first), case.context)
        whole = codec.decode(codec.encode(array, case.context), header, case.context)
        assert np.array_equal(found[-1], whole)
        for some, decoded in zip(first, found, strict=True):
            assert header_of(decoded) == header
            assert np.array_equal(codec.decode_parts(some, header, case.context), decoded)
        for wrong in ([], [*parts, b""]):
            with pytest.raises(CodecError, match=f"{len(wrong)} parts, must be from 1"):
                codec.decode_parts(wrong, header, case.context)


def test_damaged_parts_never_break_the_decoder(case: Case) -> None:
    for array in case.samples():
        parts = case.codec.encode_parts(array, case.context)
        for number, part in enumerate(parts):
            for data in damaged_parts(part):
                some = [*parts[:number], data, *parts[number + 1 :]]
                try:
                    found = case.codec.decode_parts(some, header_of(array), case.context)
                except (CorruptPayloadError, MissingReferenceError):
                    continue
                assert header_of(found) == header_of(array)


def damaged_parts(part: bytes) -> list[bytes]:
    """Return a part with each of its first bytes inverted, cut at each of them, and longer."""
    ends = range(min(len(part), 60))
    inverted = [part[:end] + bytes([part[end] ^ 0xFF]) + part[end + 1 :] for end in ends]
    return [*inverted, *[part[:end] for end in ends], part + b"\x00"]


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float64", (1,)), ("float32", (-1, 4)), ("int64", (2**28,))]
)
def test_a_header_beyond_the_limits_cannot_be_made(dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError):
        Header(dtype, shape)
