"""The automatic choice of codecs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest

from splitnet.codecs import Array, header_of, make_codec
from splitnet.codecs.candidates import Option, measure
from splitnet.codecs.choosing import Target, choose, choose_each
from splitnet.errors import CodecError

RANDOM = np.random.default_rng(0)


def relu(samples: int, channels: int, scale: float = 1) -> list[Array]:
    values = RANDOM.laplace(size=(samples, 1, channels, 8, 8)) * scale
    return list(np.maximum(values, 0).astype(np.float32))


WIDE, NARROW = relu(8, 16), relu(8, 2, 5.0)
INDICES = [RANDOM.integers(0, 3, (1, 40)) for _ in range(8)]


def works(option: Option, array: Array) -> int:
    codec = make_codec(option.codec.config)
    data = codec.encode(array, option.codec.context)
    assert codec.decode(data, header_of(array), option.codec.context).shape == array.shape
    return len(data)


def test_the_least_error_within_bytes() -> None:
    small = choose([WIDE], Target(nbytes=300)).options[0]
    large = choose([WIDE], Target(nbytes=900)).options[0]
    assert small.nbytes <= 300 < large.nbytes <= 900
    assert "affine" in large.name or "codebook" in large.name
    assert large.error < small.error
    assert works(small, WIDE[0]) < 330


def test_the_fewest_bytes_within_an_error() -> None:
    choice = choose([WIDE], Target(error=0.01))
    (option,) = choice.options
    assert option.error <= 0.01
    assert all(other.error > 0.01 or other.nbytes >= option.nbytes for other in measure(WIDE))
    assert "error" in choice.reasons[0] and "next smaller" in choice.reasons[0]
    assert "asked for: at most error 0.01" in choice.reasons[-1]


SMOOTH = list(
    RANDOM.normal(size=(24, 1, 4, 16, 16)).cumsum(axis=3).cumsum(axis=4).astype(np.float32)
)


def test_neighbours_are_tried_behind_the_quantiser_that_won() -> None:
    (option,) = choose([SMOOTH], Target(error=0.01)).options
    assert option.name.endswith("+ rans-neighbours")
    works(option, SMOOTH[0])


def test_bytes_that_neighbours_save_are_spent() -> None:
    plain = min(option.error for option in measure(SMOOTH) if option.nbytes <= 500)
    (option,) = choose([SMOOTH], Target(nbytes=500)).options
    assert option.error < plain
    assert option.nbytes <= 500


def test_several_targets_are_met_as_if_each_were_alone() -> None:
    targets = [Target(error=0.01), Target(nbytes=500)]
    for found, target in zip(choose_each([WIDE], targets), targets, strict=True):
        assert found.options[0].nbytes == choose([WIDE], target).options[0].nbytes


def test_every_tensor_gets_its_own() -> None:
    choice = choose([WIDE, NARROW, INDICES], Target(nbytes=700))
    assert len(choice.options) == 3
    assert choice.options[2].error == 0
    for option, samples in zip(choice.options, (WIDE, NARROW, INDICES), strict=True):
        works(option, samples[0])


def test_the_fewest_bytes_within_an_accuracy() -> None:
    seen: list[float] = []

    def judge(options: Sequence[Option]) -> float:
        seen.append(options[0].error)
        return 1 - options[0].error

    (option,) = choose([WIDE], Target(accuracy=0.95), judge=judge).options
    assert option.error <= 0.05
    assert len(seen) < 8
    assert choose([WIDE], Target(error=0.05)).options[0].nbytes == option.nbytes


def test_a_time_leaves_out_slow_codecs() -> None:
    clock = map(float, count()).__next__  # every reading is a second later
    assert choose([WIDE], Target(nbytes=900, time_s=1), clock=clock).options[0].time_s == 1
    with pytest.raises(CodecError, match="the fastest takes 1 s"):
        choose([WIDE], Target(nbytes=900, time_s=0.5), clock=clock)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(nbytes=10), "the smallest takes"),
        (Target(error=-1.0), "the best is 0"),
        (Target(accuracy=2.0), "the best has 1"),
    ],
)
def test_what_cannot_be_met_says_how_near_it_is(target: Target, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        choose([WIDE], target, judge=lambda options: 1.0)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(CodecError, match="needs a target"):
        Target()
    with pytest.raises(CodecError, match="nobody can judge"):
        choose([WIDE], Target(accuracy=0.5))
    with pytest.raises(CodecError, match="no clock"):
        choose([WIDE], Target(nbytes=9, time_s=1))
    with pytest.raises(CodecError, match="1 samples"):
        choose([WIDE[:1]], Target(nbytes=9))
