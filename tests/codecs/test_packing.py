"""Several tensors in one payload."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.codecs import pack, unpack
from splitnet.errors import CodecError, CorruptPayloadError


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_parts_round_trip(parts: list[bytes]) -> None:
    data = pack(parts)
    assert len(data) == sum(map(len, parts)) + 4 * (len(parts) - 1)
    assert [bytes(part) for part in unpack(data, len(parts))] == parts


def test_lengths_are_little_endian_and_the_last_part_has_none() -> None:
    assert pack([b"abc", b"", b"de"]) == b"\x03\0\0\0abc\0\0\0\0de"


def test_one_part_stays_as_it_is() -> None:
    assert pack([b"abc"]) == b"abc"


@given(data=st.binary(max_size=60), count=st.integers(1, 6))
def test_any_bytes_are_split_or_refused(data: bytes, count: int) -> None:
    try:
        parts = unpack(data, count)
    except CorruptPayloadError:
        return
    assert pack(parts) == data


@pytest.mark.parametrize("data", [b"", b"\x01\0\0", b"\x01\0\0\0", b"\xff\xff\xff\xffabc"])
def test_a_length_behind_the_end_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptPayloadError, match="tensor 0 of 2"):
        unpack(data, 2)


def test_no_tensor_is_no_payload() -> None:
    with pytest.raises(CodecError, match="at least one"):
        pack([])
