"""Slices: damage is named, and refused or filled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from splitnet.codecs import NO_CONTEXT, Header, header_of, make_codec
from splitnet.errors import CodecError, CorruptPayloadError, DamagedSliceError

ARRAY = np.random.default_rng(0).normal(size=(1, 8, 6, 6)).astype(np.float32)
CONFIG = {"id": "sliced", "slices": 4, "mean": [0.5], "codec": {"id": "affine", "bits": 8}}
CODEC = make_codec(CONFIG)
DATA = CODEC.encode(ARRAY)


def damage(position: int) -> bytes:
    data = bytearray(DATA)
    data[position] ^= 0x10
    return bytes(data)


def test_a_damaged_slice_is_named() -> None:
    with pytest.raises(DamagedSliceError, match="of 4 slices these are damaged: 3") as error:
        CODEC.decode(damage(-1), header_of(ARRAY))
    assert error.value.slices == (3,)


def test_a_damaged_slice_is_filled_where_the_caller_asks() -> None:
    context = replace(NO_CONTEXT, damaged=[])
    found = CODEC.decode(damage(-1), header_of(ARRAY), context)
    assert context.damaged == [3]
    assert (found[:, 6:] == 0.5).all()
    assert np.array_equal(found[:, :6], CODEC.decode(DATA, header_of(ARRAY))[:, :6])


def test_what_was_cut_off_is_filled_too() -> None:
    context = replace(NO_CONTEXT, damaged=[])
    found = CODEC.decode(DATA[: len(DATA) // 2], header_of(ARRAY), context)
    assert context.damaged == [1, 2, 3]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("position", [0, 4, 32, 35])
def test_damaged_entries_are_refused_in_any_case(position: int) -> None:
    for context in (NO_CONTEXT, replace(NO_CONTEXT, damaged=[])):
        with pytest.raises(CorruptPayloadError, match="lengths and checksums"):
            CODEC.decode(damage(position), header_of(ARRAY), context)


def test_means_may_differ_by_channel() -> None:
    codec = make_codec({**CONFIG, "mean": list(range(8))})
    found = codec.decode(damage(-1), header_of(ARRAY), replace(NO_CONTEXT, damaged=[]))
    assert (found[0, 6] == 6).all()
    assert (found[0, 7] == 7).all()
    wrong = make_codec({**CONFIG, "mean": [1, 2]})
    with pytest.raises(CodecError, match="2 means"):
        wrong.decode(damage(-1), header_of(ARRAY), replace(NO_CONTEXT, damaged=[]))


def test_an_axis_shorter_than_the_slices_gives_fewer() -> None:
    codec = make_codec({"id": "sliced", "slices": 8, "axis": 0})
    assert codec.encoded_header(Header("uint8", (3, 5))) == Header("uint8", (3 * 8 + 4 + 15,))


@pytest.mark.parametrize(
    "config", [{"slices": 0}, {"slices": 257}, {"axis": -1}, {"mean": []}, {"mean": [1e999]}]
)
def test_wrong_values_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        make_codec({"id": "sliced", **config})
