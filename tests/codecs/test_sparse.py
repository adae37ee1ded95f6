"""Sparse tensors."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.codecs import header_of, make_codec
from splitnet.errors import CodecError, CorruptPayloadError


def test_top_k_keeps_the_largest_magnitudes() -> None:
    codec = make_codec({"id": "top-k", "share": 0.4})
    array = np.array([1, -5, 2, 0.5, 4], np.float32)
    assert codec.decode(codec.encode(array), header_of(array)).tolist() == [0, -5, 0, 0, 4]


def test_top_k_keeps_ties() -> None:
    codec = make_codec({"id": "top-k", "share": 0.25})
    array = np.array([3, 1, 3, -3], np.float32)
    assert codec.decode(codec.encode(array), header_of(array)).tolist() == [3, 0, 3, -3]


def test_a_zero_map_holds_bits_and_values() -> None:
    codec = make_codec({"id": "zero-map"})
    array = np.array([0, 7, 0, 9, 0], np.uint8)
    assert codec.encode(array) == bytes([1, 0, 0, 0, 0b01010000, 7, 9])


def test_a_zero_map_keeps_negative_zero() -> None:
    codec = make_codec({"id": "zero-map"})
    array = np.array([0.0, -0.0, 1.0], np.float32)
    assert codec.decode(codec.encode(array), header_of(array)).tobytes() == array.tobytes()


def test_bits_behind_the_last_element_are_zero() -> None:
    codec = make_codec({"id": "zero-map"})
    with pytest.raises(CorruptPayloadError, match="behind the last element"):
        codec.decode(bytes([1, 0, 0, 0, 0b00000001]), header_of(np.zeros(5, np.uint8)))


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_other_shares_are_refused(share: float) -> None:
    with pytest.raises(CodecError, match="above 0 and at most 1"):
        make_codec({"id": "top-k", "share": share})
