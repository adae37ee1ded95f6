"""Payloads with and without content."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.wire import Hollow, Payload, join

POSITIONS = st.none() | st.integers(-30, 30)


@settings(deadline=None)
@given(st.binary(max_size=20), POSITIONS, POSITIONS)
def test_a_hollow_payload_is_cut_like_bytes(
    data: bytes, start: int | None, stop: int | None
) -> None:
    assert len(Hollow(len(data))[start:stop]) == len(data[start:stop])


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(1, 40))
def test_chunks_join_to_the_payload_they_were_cut_from(data: bytes, chunk: int) -> None:
    for payload in (data, bytearray(data), memoryview(data), Hollow(len(data))):
        joined = join(cut(payload, chunk))
        assert joined == payload


def cut(payload: Payload, chunk: int) -> list[Payload]:
    return [payload[at : at + chunk] for at in range(0, len(payload), chunk)] or [payload]


def test_one_chunk_is_joined_without_a_copy() -> None:
    payload = b"x" * 100
    assert join([payload]) is payload


def test_a_hollow_chunk_makes_the_whole_hollow() -> None:
    assert join([b"abc", Hollow(4)]) == Hollow(7)
    assert join([]) == b""
