"""A base and refinements: every part makes the result better."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codecs import Array, Header, header_of, make_codec
from splitnet.codecs.refined import Refined, RefinedConfig
from splitnet.errors import CodecError, CorruptPayloadError


def errors(codec: Refined, array: Array) -> list[Array]:
    """Return the error with each number of parts."""
    parts = codec.encode_parts(array)
    header = header_of(array)
    return [
        np.abs(codec.decode_parts(parts[:count], header).astype(np.float64) - array)
        for count in range(1, len(parts) + 1)
    ]


@pytest.mark.parametrize(("bits", "refinements"), [(1, 7), (2, 2), (3, 5), (4, 1)])
def test_the_error_falls_with_every_refinement(bits: int, refinements: int) -> None:
    array = np.maximum(np.random.default_rng(0).normal(size=(1, 8, 20, 20)), 0).astype(np.float32)
    found = errors(Refined(RefinedConfig(bits, refinements)), array)
    squares = [float((error**2).mean()) for error in found]
    assert all(later < earlier / 2 for earlier, later in pairwise(squares))
    assert all(not error[array == 0].any() for error in found)


@given(
    array=hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-100, 100, width=32)),
    bits=st.integers(1, 4),
    refinements=st.integers(1, 4),
)
def test_the_bound_halves_with_every_refinement(array: Array, bits: int, refinements: int) -> None:
    width = float(array.max()) - float(array.min())
    for count, error in enumerate(errors(Refined(RefinedConfig(bits, refinements)), array)):
        step = width / (2**bits - 1) / 2**count
        assert error.max() <= step * (1.0001 if count < refinements else 0.5001) + 1e-4


def test_one_payload_holds_all_parts() -> None:
    codec = Refined()
    array = np.linspace(0, 1, 40).astype(np.float32)
    expected = codec.decode_parts(codec.encode_parts(array), header_of(array))
    assert np.array_equal(codec.decode(codec.encode(array), header_of(array)), expected)


def test_an_impossible_refinement_is_refused() -> None:
    codec = Refined()
    array = np.zeros(8, np.float32)
    base, *_ = codec.encode_parts(array)
    with pytest.raises(CorruptPayloadError, match="rounded up"):
        codec.decode_parts([base, b"\xff"], header_of(array))


@pytest.mark.parametrize("count", [0, 4])
def test_a_wrong_number_of_parts_is_refused(count: int) -> None:
    with pytest.raises(CodecError, match=f"{count} parts, must be from 1 to 3"):
        Refined().decode_parts([b""] * count, Header("float32", (4,)))


@pytest.mark.parametrize("config", [{"bits": 0}, {"refinements": 0}, {"bits": 5, "refinements": 4}])
def test_wrong_bits_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(CodecError, match="together at most 8"):
        RefinedConfig(**config)


def test_a_pipeline_that_ends_with_refined_has_its_parts() -> None:
    refined = {"id": "refined", "bits": 3, "refinements": 2}
    front = {"id": "top-k", "share": 0.5}
    codec = make_codec(
        {"id": "pipeline", "codecs": [{"id": "first-channels", "channels": 2}, refined]}
    )
    assert codec.parts == 3
    array = np.random.default_rng(0).random((1, 4, 6, 6), np.float32)
    parts = codec.encode_parts(array)
    header = header_of(array)
    inner = make_codec(refined)
    for count in range(1, 4):
        found = codec.decode_parts(parts[:count], header)
        kept = inner.decode_parts(parts[:count], Header("float32", (1, 2, 6, 6)))
        assert np.array_equal(found[:, :2], kept) and not found[:, 2:].any()
    whole = codec.decode(codec.encode(array), header)
    assert np.array_equal(codec.decode_parts(parts, header), whole)
    with pytest.raises(CorruptPayloadError, match="the side alone has"):
        make_codec({"id": "pipeline", "codecs": [front, refined]}).decode_parts([b""], header)
