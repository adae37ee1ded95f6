"""The store codec: the elements as they are."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.codecs import Header, make_codec
from splitnet.errors import CorruptPayloadError

STORE = make_codec({"id": "store"})


def test_elements_are_little_endian_in_c_order() -> None:
    array = np.array([[1, 2], [3, 4]], ">i2").T
    assert STORE.encode(array) == b"\x01\0\x03\0\x02\0\x04\0"


def test_an_aligned_payload_is_not_copied() -> None:
    data = STORE.encode(np.arange(8, dtype=np.float32))
    assert np.shares_memory(STORE.decode(data, Header("float32", (8,))), np.frombuffer(data, "u1"))


def test_a_bool_is_0_or_1() -> None:
    with pytest.raises(CorruptPayloadError, match="neither 0 nor 1"):
        STORE.decode(b"\x01\x02", Header("bool", (2,)))
