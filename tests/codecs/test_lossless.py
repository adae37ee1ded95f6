"""The lz4 codec: stores where compression does not pay."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.codecs import Header, make_codec
from splitnet.errors import CodecError, CorruptPayloadError

LZ4 = make_codec({"id": "lz4"})


def test_incompressible_bytes_are_stored() -> None:
    array = np.random.default_rng(0).integers(0, 256, 4096).astype(np.uint8)
    assert LZ4.encode(array) == b"\x00" + array.tobytes()


def test_zeros_are_compressed() -> None:
    data = LZ4.encode(np.zeros(4096, np.uint8))
    assert data[:1] == b"\x01"
    assert len(data) < 64


def test_a_slower_level_compresses_better() -> None:
    array = np.random.default_rng(0).integers(0, 4, 8192).astype(np.uint8)
    assert len(make_codec({"id": "lz4", "level": 12}).encode(array)) < len(LZ4.encode(array))


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(CorruptPayloadError, match="flag byte is 02"):
        LZ4.decode(b"\x02abc", Header("uint8", (3,)))


def test_a_block_of_another_size_is_refused() -> None:
    data = LZ4.encode(np.zeros(4096, np.uint8))
    for size in (4095, 4097, 1):
        with pytest.raises(CorruptPayloadError):
            LZ4.decode(data, Header("uint8", (size,)))


@pytest.mark.parametrize("config", [{"level": 13}, {"level": -1}, {"acceleration": 0}])
def test_values_out_of_range_are_refused(config: dict[str, int]) -> None:
    with pytest.raises(CodecError, match="must be from"):
        make_codec({"id": "lz4", **config})
