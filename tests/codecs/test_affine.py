"""What the affine codec writes, byte by byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from splitnet.codecs import Header, header_of, make_codec
from splitnet.errors import CodecError, CorruptPayloadError


def test_payload_is_minimum_step_and_symbols() -> None:
    array = np.array([[-1.0, 0.0], [1.0, 4.1]], np.float32)
    data = make_codec({"id": "affine", "bits": 8}).encode(array)
    low, step = struct.unpack_from("<ff", data)
    assert low == -1.0
    assert step == pytest.approx(5.1 / 255)
    assert data[8:] == bytes([0, 50, 100, 255])


def test_narrow_symbols_are_packed_from_the_highest_bit() -> None:
    array = np.array([0, 1, 2, 3, 2], np.float32)
    data = make_codec({"id": "affine", "bits": 2}).encode(array)
    assert data == struct.pack("<ff", 0, 1) + bytes([0b00_01_10_11, 0b10_000000])


def test_bits_behind_the_last_symbol_are_zero() -> None:
    codec = make_codec({"id": "affine", "bits": 2})
    with pytest.raises(CorruptPayloadError, match="behind the last symbol"):
        codec.decode(struct.pack("<ff", 0, 1) + b"\x01", Header("float32", (3,)))


@pytest.mark.parametrize(
    ("low", "step"),
    [
        (0, -1),
        (float("nan"), 1),
        (0, float("nan")),
        (0, float("inf")),
        (float("-inf"), 1),
        (3e38, 1e37),
    ],
)
def test_values_outside_the_dtype_are_refused(low: float, step: float) -> None:
    codec = make_codec({"id": "affine"})
    with pytest.raises(CorruptPayloadError, match="range of float32"):
        codec.decode(struct.pack("<ff", low, step) + b"\x00", Header("float32", (1,)))


def test_float16_is_restored_as_float16() -> None:
    codec = make_codec({"id": "affine"})
    array = np.linspace(-65504, 65504, 50).astype(np.float16)
    assert codec.decode(codec.encode(array), header_of(array)).dtype == np.float16
    with pytest.raises(CorruptPayloadError, match="range of float16"):
        codec.decode(struct.pack("<ff", 0, 1000) + b"\x00", Header("float16", (1,)))


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(CodecError, match="from 1 to 8"):
        make_codec({"id": "affine", "bits": bits})


def test_an_activation_behind_a_relu_keeps_its_zeros() -> None:
    codec = make_codec({"id": "affine"})
    array = np.maximum(np.random.default_rng(0).normal(size=(1, 16, 32, 32)), 0)
    array = array.astype(np.float32)
    found = codec.decode(codec.encode(array), header_of(array))
    assert not found[array == 0].any()
