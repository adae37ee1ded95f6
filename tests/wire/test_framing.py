"""Sizes of heads, refusals of the serialiser, and the rules that bind all kinds."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

import pytest

from splitnet.errors import WireCode, WireError
from splitnet.values import Load, RequestClass
from splitnet.wire import (
    MAGIC,
    MAX_HEAD_BYTES,
    MAX_PAYLOAD_BYTES,
    PREFIX_BYTES,
    PROTOCOL_VERSION,
    Announce,
    Bye,
    Chunk,
    Error,
    Hello,
    Hollow,
    Infer,
    InferFlag,
    Lookup,
    Message,
    Offer,
    Ping,
    Reply,
    WorkerOffer,
    checksum,
    decode,
    encode,
    size,
)

U32 = 2**32 - 1
KINDS = get_args(Message)

INFER = Infer(
    session=U32,
    request=U32,
    contract=127,
    path=127,
    level=127,
    stop=127,
    request_class=RequestClass.LIVE,
    budget_us=U32,
    stamp=U32,
    stream=0,
    state=0,
    refinements=64,
    dims=(),
    flags=sum(InferFlag),
    checksum=U32,
    payload=b"",
)


def test_head_of_a_one_chunk_infer_is_at_most_48_bytes() -> None:
    assert len(encode(INFER)[0]) == 44
    in_a_stream = replace(INFER, stream=2**16 - 1, state=127, contract=255, path=255)
    assert len(encode(in_a_stream)[0]) == 48


def test_head_of_a_further_chunk_is_at_most_24_bytes() -> None:
    largest = Chunk(U32, 63, 2**16 - 1, last=True, checksum=U32, payload=b"x")
    assert len(encode(largest)[0]) == 24


def test_head_of_a_reply_is_small() -> None:
    reply = Reply(U32, 0, True, 1, 0, U32, U32, U32, Load(99, U32, 1000, 99), U32, (), 0, U32, b"")
    assert len(encode(reply)[0]) <= 64


def test_kinds_are_numbered_from_1_in_order() -> None:
    assert [cls.kind for cls in KINDS] == list(range(1, 21))


def test_prefix_is_magic_version_and_kind_in_network_order() -> None:
    head = bytes(encode(Ping(0, 0))[0])
    assert head[:PREFIX_BYTES] == MAGIC + bytes([0, PROTOCOL_VERSION, 0, Ping.kind])


@pytest.mark.parametrize("cls", KINDS)
def test_messages_are_frozen_and_slotted(cls: type[Any]) -> None:
    assert cls.__dataclass_params__.frozen
    assert "__slots__" in vars(cls)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Ping(-1, 0), "Ping.number is -1, must be an integer 0 to 4294967295"),
        (Ping(True, 0), "Ping.number is True, must be an integer 0 to 4294967295"),
        (replace(INFER, level=256), "Infer.level is 256, must be an integer 0 to 255"),
        (replace(INFER, dims=(1,) * 33), "Infer.dims has 33 elements, allowed are 0 to 32"),
        (Chunk(1, 64, 0, False, 0, b""), "Chunk.refinement is 64, must be an integer 0 to 63"),
        (Lookup((b"short",)), "Lookup.paths[0] has 5 bytes, allowed are 32"),
        (Hello((1,), (), (), 0, "x" * 129), "Hello.device has 129 bytes, allowed are at most 128"),
        (Hello((1,), (), (), 0, "\ud800"), "Hello.device is '\\ud800', must be UTF-8 text"),
        (
            Announce(1, "tcp://h:1", b"key", 1, Load(), ()),
            "Announce.key has 3 bytes, allowed are 0 or 32",
        ),
        (
            Offer((WorkerOffer(1, "a\nb", b"", b"", 1, Load()),)),
            "Offer.workers[0].endpoint has the control character '\\n', must be plain text",
        ),
    ],
)
def test_a_field_out_of_bounds_is_not_sent(message: Message, text: str) -> None:
    with pytest.raises(WireError, match=f"^{re.escape(text)}$"):
        encode(message)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("request_class", 2, "Infer.request_class is 2, must be one of 0 (live), 1 (deferred)"),
        ("dims", [1], "Infer.dims is [1], must be an array"),
        ("checksum", 1.0, "Infer.checksum is 1.0, must be an integer 0 to 4294967295"),
        ("session", None, "Infer.session is nil, must be an integer 0 to 4294967295"),
    ],
)
def test_a_value_of_a_wrong_type_is_not_sent(field: str, value: Any, text: str) -> None:
    with pytest.raises(WireError, match=f"^{re.escape(text)}$"):
        encode(replace(INFER, **{field: value}))


def test_a_record_of_a_wrong_type_is_not_sent() -> None:
    wrong: Any = (0, 0, 0, 0)
    with pytest.raises(WireError, match=r"^Offer\.workers\[0\].load is \(0, 0, 0, 0\), must be a "):
        encode(Offer((WorkerOffer(1, "", b"", b"", 1, wrong),)))


def test_enumerations_are_sent_as_numbers_and_come_back_as_members() -> None:
    infer = replace(INFER, flags=InferFlag.NO_REPLY | InferFlag.MORE_CHUNKS)
    back = decode(encode(infer))
    assert isinstance(back, Infer)
    assert back == infer
    assert back.request_class is RequestClass.LIVE
    assert InferFlag(back.flags) == InferFlag.NO_REPLY | InferFlag.MORE_CHUNKS


def test_a_detail_is_cut_and_blanked_by_the_sender() -> None:
    sent = Error(1, WireCode.INTERNAL, 0, "first\nsecond\x1b[2J \ud800 " + "ü" * 600)
    got = decode(encode(sent))
    assert isinstance(got, Error)
    assert got.detail.startswith("first second [2J ? üü")
    assert 511 <= len(got.detail.encode()) <= 512


def test_a_detail_that_fits_stays_as_it_is() -> None:
    bye = Bye(WireCode.DRAINING, "x" * 512)
    assert decode(encode(bye)) == bye


def test_a_hollow_payload_has_a_size_but_cannot_be_sent() -> None:
    infer = replace(INFER, payload=Hollow(8192))
    assert size(infer) == len(encode(INFER)[0]) + 8192
    with pytest.raises(ValueError, match="hollow payload"):
        encode(infer)


def test_a_view_of_anything_but_bytes_is_not_sent() -> None:
    view: Any = memoryview(bytes(8)).cast("f")
    with pytest.raises(WireError, match=r"^Infer\.payload is a view of 'f', must be bytes$"):
        encode(replace(INFER, payload=view))


def test_payloads_have_a_bound() -> None:
    payload = memoryview(bytes(MAX_PAYLOAD_BYTES + 1))
    text = f"Infer.payload has {MAX_PAYLOAD_BYTES + 1} bytes, allowed are at most"
    with pytest.raises(WireError, match=re.escape(text)):
        encode(replace(INFER, payload=payload))
    with pytest.raises(WireError, match=re.escape(text)):
        decode([encode(INFER)[0], payload])
    assert decode(encode(replace(INFER, payload=payload[1:])))


def test_heads_have_a_bound() -> None:
    head = bytes(encode(Ping(1, 2))[0])
    with pytest.raises(WireError, match=f"^Ping has a head of {MAX_HEAD_BYTES + 1} bytes"):
        decode([head.ljust(MAX_HEAD_BYTES + 1, b"\x00")])


def test_the_largest_heads_that_the_bounds_allow_can_be_sent() -> None:
    hashes = (bytes(32),) * 256
    worker = WorkerOffer(2**64 - 1, "x" * 255, bytes(32), bytes(255), U32, Load(U32, U32, 1000, 9))
    for message in (Hello((1,) * 16, hashes, hashes, U32, "x" * 128), Offer((worker,) * 64)):
        assert decode(encode(message)) == message


def test_checksum_is_the_crc32_of_zlib() -> None:
    assert checksum(b"123456789") == 0xCBF43926
    assert checksum(memoryview(b"123456789")) == 0xCBF43926
    assert checksum(b"") == checksum(Hollow(9)) == 0
