"""Whatever bytes arrive: a message, or a `WireError`, and never more memory than was sent."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.errors import WireError
from splitnet.wire import MAGIC, decode, encode

GOLDEN = [
    [bytes.fromhex(frame) for frame in entry["frames"]]
    for name in ("messages", "lenient")
    for entry in json.loads((Path(__file__).parent / f"golden/{name}.json").read_text("utf-8"))
]
HEADS = [frames[0] for frames in GOLDEN]
LENGTHS = [
    b"\xdc\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xc5\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xda\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xde\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc8\xff\xff\x01",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xc7\xff\xff",
]

golden = st.sampled_from(GOLDEN)
prefixes = st.integers(0, 22).map(lambda kind: MAGIC + bytes([0, 1, 0, kind]))


def survives(frames: list[bytes]) -> None:
    """Decode; what is accepted must also be possible to send, and come back the same."""
    try:
        message = decode(frames)
    except WireError as error:
        assert 0 < len(str(error)) < 300
        return
    assert decode(encode(message)) == message


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_frames(frames: list[bytes]) -> None:
    survives(frames)


@settings(deadline=None)
@given(prefixes, st.binary(max_size=200), st.lists(st.binary(max_size=20), max_size=2))
def test_random_arrays(prefix: bytes, array: bytes, payload: list[bytes]) -> None:
    survives([prefix + array, *payload])


@settings(deadline=None)
@given(golden, st.data())
def test_flipped_bits(frames: list[bytes], data: st.DataObject) -> None:
    head = bytearray(frames[0])
    for bit in data.draw(st.lists(st.integers(0, 8 * len(head) - 1), min_size=1, max_size=4)):
        head[bit // 8] ^= 1 << bit % 8
    survives([bytes(head), *frames[1:]])


def test_every_single_bit_of_every_golden_head() -> None:
    for frames in GOLDEN:
        for bit in range(8 * len(frames[0])):
            head = bytearray(frames[0])
            head[bit // 8] ^= 1 << bit % 8
            survives([bytes(head), *frames[1:]])


def test_every_truncation_of_every_golden_head() -> None:
    for frames in GOLDEN:
        for length in range(len(frames[0])):
            survives([frames[0][:length], *frames[1:]])


@settings(deadline=None)
@given(golden, golden, st.data())
def test_spliced_messages(one: list[bytes], other: list[bytes], data: st.DataObject) -> None:
    front = data.draw(st.integers(0, len(one[0])))
    back = data.draw(st.integers(0, len(other[0])))
    survives([one[0][:front] + other[0][back:], *data.draw(st.sampled_from([one, other]))[1:]])
    survives(one + other)


@settings(deadline=None)
@given(golden, st.sampled_from(LENGTHS), st.data())
def test_giant_lengths(frames: list[bytes], length: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(8, len(frames[0])))
    survives([frames[0][:at] + length + frames[0][at:], *frames[1:]])


@settings(deadline=None)
@given(st.sampled_from(HEADS), st.sampled_from(LENGTHS), st.integers(1, 6))
def test_nested_giant_lengths(head: bytes, length: bytes, times: int) -> None:
    survives([head[:8] + length * times + head[8:]])


def test_declared_lengths_are_not_allocated() -> None:
    attacks = [head[:8] + length + bytes(64) for head in HEADS for length in LENGTHS]
    attacks += [head[:8] + b"\x91" * 60_000 for head in HEADS]
    assert peak_bytes_of(attacks) < 1_000_000


def test_nested_arrays_cost_a_bounded_amount_of_memory() -> None:
    largest_array, deepest = b"\xdc\x02\x00", 21_000
    assert peak_bytes_of([HEADS[0][:8] + largest_array * deepest]) < 8_000_000


def peak_bytes_of(heads: list[bytes]) -> int:
    survives(GOLDEN[0])
    tracemalloc.start()
    try:
        for head in heads:
            survives([head])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
