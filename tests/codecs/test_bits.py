"""Symbols of a few bits, byte by byte."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.codecs import Header, make_codec
from splitnet.errors import CodecError, CorruptPayloadError


@pytest.mark.parametrize(
    ("bits", "symbols", "packed"),
    [
        (1, [1, 0, 1, 1, 0, 0, 0, 0, 1], [0b10110000, 0b10000000]),
        (2, [0, 1, 2, 3, 2], [0b00_01_10_11, 0b10_000000]),
        (3, [7, 0, 5], [0b111_000_10, 0b1_0000000]),
        (4, [15, 1, 9], [0xF1, 0x90]),
        (8, [0, 255], [0, 255]),
    ],
)
def test_symbols_lie_from_the_highest_bit(bits: int, symbols: list[int], packed: list[int]) -> None:
    codec = make_codec({"id": "pack", "bits": bits})
    array = np.array(symbols, np.uint8)
    assert codec.encode(array) == bytes(packed)
    found = codec.decode(bytes(packed), Header("uint8", (len(symbols),)))
    assert np.array_equal(found, array)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7])
def test_bits_behind_the_last_symbol_are_zero(bits: int) -> None:
    codec = make_codec({"id": "pack", "bits": bits})
    with pytest.raises(CorruptPayloadError, match="behind the last symbol are not 0"):
        codec.decode(b"\x01", Header("uint8", (1,)))


def test_larger_symbols_are_refused() -> None:
    with pytest.raises(CodecError, match="symbol 16 does not fit 4 bits, at most 15"):
        make_codec({"id": "pack", "bits": 4}).encode(np.array([16], np.uint8))
