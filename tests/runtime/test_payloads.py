"""Tensors to payloads and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from splitnet.errors import CodecError, CorruptPayloadError, TensorMismatchError
from splitnet.runtime.payloads import (
    check_tensors,
    decode_refinements,
    decode_tensors,
    dynamic_dims,
    dynamic_names,
    encode_refinements,
    encode_tensors,
    naming,
)
from splitnet.values import TensorSpec

STORE: dict[str, Any] = {"id": "store"}
A = TensorSpec("a", "float32", ("N", 3))
B = TensorSpec("b", "int64", ("N", "rows", "columns"))
C = TensorSpec("c", "float32", ("N", "columns"))


def arrays(rows: int = 2, columns: int = 4) -> list[Any]:
    return [
        np.arange(3, dtype=np.float32)[np.newaxis],
        np.arange(rows * columns).reshape(1, rows, columns),
        np.ones((1, columns), np.float32),
    ]


def test_several_tensors_with_dynamic_dimensions_round_trip() -> None:
    specs, tensors = (A, B, C), arrays()
    dims = dynamic_dims(specs, tensors)
    assert (dynamic_names(specs), dims) == (("rows", "columns"), (2, 4))
    payload = encode_tensors([STORE] * 3, tensors)
    for found, sent in zip(decode_tensors([STORE] * 3, specs, payload, dims), tensors, strict=True):
        np.testing.assert_array_equal(found, sent)
        assert found.dtype == sent.dtype


@pytest.mark.parametrize("dims", [(), (2,), (2, 4, 1)])
def test_a_wrong_number_of_dimensions(dims: tuple[int, ...]) -> None:
    with pytest.raises(TensorMismatchError, match=f"{len(dims)} dynamic dimensions were sent"):
        decode_tensors([STORE], (B,), b"", dims)


@pytest.mark.parametrize("dims", [(1 << 40, 1 << 40), (1 << 31, 1), (-1, 4)])
def test_dimensions_from_the_network_are_bounded_before_anything_is_allocated(
    dims: tuple[int, ...],
) -> None:
    with pytest.raises(CodecError, match=r"at most|negative"):
        decode_tensors([STORE], (B,), b"", dims)


@pytest.mark.parametrize("payload", [b"", b"x" * 11, b"x" * 13])
def test_a_payload_of_the_wrong_length(payload: bytes) -> None:
    with pytest.raises(CorruptPayloadError):
        decode_tensors([STORE], (A,), payload, ())


def test_as_many_codecs_as_tensors() -> None:
    with pytest.raises(TensorMismatchError, match="3 tensors for 1 codecs"):
        encode_tensors([STORE], arrays())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([], "0 tensors, 1 are needed"),
        ([np.zeros((1, 3))], "'a' is float64, float32 is needed"),
        ([np.zeros((1, 4), np.float32)], r"shape \(1, 4\), \('N', 3\) is needed"),
        ([np.zeros(3, np.float32)], r"shape \(3,\)"),
    ],
)
def test_tensors_are_checked_against_the_contract(tensors: list[Any], message: str) -> None:
    with pytest.raises(TensorMismatchError, match=f"here: .*{message}"):
        check_tensors((A,), tensors, "here")
    check_tensors((A,), [np.zeros((5, 3), np.float32)], "here")


REFINED: dict[str, Any] = {"id": "refined", "bits": 3, "refinements": 2}
WIDE = TensorSpec("wide", "float32", ("N", 300))


def test_a_refinement_holds_a_part_of_every_tensor_that_has_one() -> None:
    specs = (WIDE,) * 3
    tensors = [np.random.default_rng(n).random(WIDE.shape(1, {}), np.float32) for n in range(3)]
    codecs = [REFINED, STORE, {**REFINED, "refinements": 1}]
    sent = encode_refinements(codecs, tensors)
    assert len(sent) == 3
    errors = []
    for count in range(1, 4):
        ((first, second, _),) = decode_refinements(codecs, specs, [sent[:count]], [()])
        assert np.array_equal(second, tensors[1])
        errors.append(np.abs(first - tensors[0]).max())
    assert errors[0] > errors[1] > errors[2]
    with pytest.raises(CodecError, match="4 parts, must be from 1 to 3"):
        decode_refinements(codecs, specs, [[*sent, b""]], [()])


def test_one_part_is_the_payload() -> None:
    tensors = [np.zeros(WIDE.shape(1, {}), np.float32)] * 2
    assert encode_refinements([STORE] * 2, tensors) == [encode_tensors([STORE] * 2, tensors)]


def test_what_a_codec_refuses_is_named_by_path_and_level() -> None:
    array = np.full(WIDE.shape(1, {}), np.nan, np.float32)
    with pytest.raises(CodecError, match=r"^path c1, level 2: .*NaN"), naming("c1", 2):
        encode_refinements([REFINED], [array])
