"""Write the golden messages: ``python tests/wire/write_golden.py``. No test ever does.

``golden/messages.json`` holds messages with their frames, ``golden/lenient.json`` frames that
nobody sends but everybody reads, ``golden/invalid.json`` frames that are refused and the error.
Look at the difference before you commit it: a changed frame is a changed protocol.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgpack

from splitnet.errors import WireCode, WireError
from splitnet.values import Load, RequestClass
from splitnet.wire import (
    Announce,
    Blob,
    Buffer,
    Bye,
    Cancel,
    CancelAck,
    Chunk,
    Credit,
    Error,
    Get,
    Hello,
    Infer,
    InferFlag,
    Lookup,
    Message,
    Offer,
    Ping,
    Pong,
    Probe,
    ProgressAck,
    Reply,
    StreamLost,
    Welcome,
    WorkerOffer,
    checksum,
    decode,
    encode,
)

GOLDEN = Path(__file__).parent / "golden"

U32 = 2**32 - 1
U64 = 2**64 - 1
PATH_A, PATH_B, TABLE = (bytes([first]) * 32 for first in (0xA1, 0xB2, 0x7E))
KEY = bytes(range(32))
PAYLOAD = bytes(range(16))
BUSY = Load(queued=17, wait_us=12_345, busy_permille=930, batch=8)


def messages() -> dict[str, Message]:
    """Every kind, with ordinary values and with the largest ones."""
    return {
        "hello": Hello((1,), (PATH_A, PATH_B), (TABLE,), 1_048_576, "pi-5"),
        "hello-that-wants-nothing": Hello((1, 2), (), (), 0, ""),
        "welcome": Welcome(
            session=0xC0FFEE01,
            epoch=0x1122334455667788,
            handles=((1, 4), None),
            missing_tables=(TABLE,),
            max_request_bytes=16_777_216,
            max_chunk_bytes=8192,
            credit_requests=64,
            credit_bytes=4_194_304,
            heartbeat_ms=1000,
        ),
        "infer": Infer(
            session=0xC0FFEE01,
            request=42,
            contract=1,
            path=4,
            level=1,
            stop=8,
            request_class=RequestClass.LIVE,
            budget_us=90_000,
            stamp=0xDEADBEEF,
            stream=0,
            state=0,
            refinements=1,
            dims=(),
            flags=0,
            checksum=checksum(PAYLOAD),
            payload=PAYLOAD,
        ),
        "infer-of-a-stream": Infer(
            session=U32,
            request=U32,
            contract=0xFFFF,
            path=0xFFFF,
            level=0xFF,
            stop=0xFFFF,
            request_class=RequestClass.DEFERRED,
            budget_us=0,
            stamp=U32,
            stream=U32,
            state=U32,
            refinements=64,
            dims=(1, 640, U32),
            flags=sum(InferFlag),
            checksum=checksum(b""),
            payload=b"",
        ),
        "chunk": Chunk(42, 0, 1, False, checksum(PAYLOAD), PAYLOAD),
        "chunk-last": Chunk(U32, 63, 0xFFFF, True, U32, b"\x00"),
        "reply": Reply(
            request=42,
            number=0,
            final=True,
            refinements=1,
            state=0,
            queue_us=1200,
            decode_us=300,
            run_us=5000,
            load=BUSY,
            stamp=0xDEADBEEF,
            dims=(),
            codec=0,
            checksum=checksum(PAYLOAD),
            payload=PAYLOAD,
        ),
        "reply-partial": Reply(
            U32, 0xFFFF, False, 64, U32, U32, U32, U32, Load(), U32, (3, 80), 255, U32, b""
        ),
        "error": Error(42, WireCode.OVERLOAD, 250, "64 requests are queued, at most 64"),
        "error-of-the-connection": Error(0, WireCode.VERSION, 0, "protocol 2 asked, 1 spoken"),
        "cancel": Cancel(42),
        "cancel-ack": CancelAck(42, True),
        "ping": Ping(7, 0xDEADBEEF),
        "pong": Pong(7, 0xDEADBEEF, BUSY),
        "probe": Probe(8, 0xDEADBEEF, bytes(32)),
        "progress-ack": ProgressAck(81_920),
        "progress-ack-largest": ProgressAck(U64),
        "credit": Credit(128, 8_388_608),
        "stream-lost": StreamLost(3, 0),
        "get": Get(PATH_A, 65_536, 8192),
        "blob": Blob(PATH_A, 65_536, 70_000, PAYLOAD),
        "lookup": Lookup((PATH_A, PATH_B)),
        "offer": Offer(
            (
                WorkerOffer(9, "tcp://10.0.0.5:7001", KEY, b"ticket", 5000, BUSY),
                WorkerOffer(U64, "tcp://127.0.0.1:7002", b"", b"", U32, Load()),
            )
        ),
        "offer-of-nothing": Offer(()),
        "announce": Announce(9, "tcp://10.0.0.5:7001", KEY, 5000, BUSY, (PATH_A,)),
        "bye": Bye(WireCode.DRAINING, "Gerät wird neu gestartet"),
    }


def head(kind: int, elements: object, *, version: int = 1, magic: bytes = b"\x89SPL") -> bytes:
    """A first frame made by hand; `elements` may be raw bytes in place of the array."""
    array = elements if isinstance(elements, bytes) else msgpack.packb(elements)
    return magic + version.to_bytes(2, "big") + kind.to_bytes(2, "big") + array


INFER = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, [], 0, 0]
REPLY = [1, 0, True, 1, 0, 0, 0, 0, [0, 0, 0, 0], 0, [], 0, 0]
WELCOME = [1, 1, [[1, 0]], [], 1, 8192, 1, 1, 1000]
HELLO = [[1], [PATH_A], [], 0, "pi"]
HASH = b"\x01" * 32


def changed(elements: list[Any], at: int, value: object) -> list[Any]:
    """The array with one element replaced."""
    return [*elements[:at], value, *elements[at + 1 :]]


def lenient() -> dict[str, list[bytes]]:
    """Frames that a later minor version may send, or that are not in the shortest form."""
    return {
        "unknown trailing elements": [head(9, [7, 1, "new", None, [1, b"x"]])],
        "unknown trailing elements of a load": [head(10, [7, 1, [1, 2, 3, 4, 5, "six"]])],
        "unknown trailing elements of a handle": [head(2, changed(WELCOME, 2, [[1, 0, 9]]))],
        "integers that are not in the shortest form": [
            head(13, b"\x92\xcf" + bytes(7) + b"\x05\xce\x00\x00\x00\x06")
        ],
        "an array that is not in the shortest form": [head(7, b"\xdd\x00\x00\x00\x01\x2a")],
        "an unknown error code": [head(6, [42, 999, 0, "from the future"])],
        "unknown flags": [head(3, changed(INFER, 13, 2**31 + 16)), b"x"],
    }


def invalid() -> dict[str, list[bytes]]:
    """Frames that are refused."""
    deep = b"\x91" * 2000
    return {
        "no frames": [],
        "empty head": [b""],
        "half a prefix": [b"\x89SPL\x00"],
        "text": [b"GET / HTTP/1.1\r\n\r\n"],
        "wrong magic": [head(9, [1, 2], magic=b"\x89PNG")],
        "a later version": [head(9, [1, 2], version=2)],
        "an earlier version": [head(9, [1, 2], version=0)],
        "the latest version": [head(1, b"", version=0xFFFF)],
        "kind 0": [head(0, [1])],
        "kind 21": [head(21, [1])],
        "prefix alone": [head(9, b"")],
        "array cut short": [head(9, b"\x92\x01")],
        "bytes behind the array": [head(9, b"\x92\x01\x02\x03")],
        "an integer in place of the array": [head(9, 5)],
        "nil in place of the array": [head(9, None)],
        "a map in place of the array": [head(9, {})],
        "a map among the elements": [head(9, [1, {1: 2}])],
        "reserved byte of msgpack": [head(9, b"\x92\x01\xc1")],
        "extension": [head(9, b"\x92\x01\xd4\x05\x00")],
        "timestamp": [head(9, b"\x92\x01\xd6\xff\x00\x00\x00\x00")],
        "too few elements": [head(9, [1])],
        "no elements": [head(9, [])],
        "nested too deeply": [head(9, deep)],
        "array of 4 G elements": [head(9, b"\xdd\xff\xff\xff\xff")],
        "bytes of 4 GB": [head(15, b"\x93\xc6\xff\xff\xff\xff")],
        "text of 4 GB": [head(20, b"\x92\x01\xdb\xff\xff\xff\xff")],
        "map of 4 G entries": [head(9, b"\xdf\xff\xff\xff\xff")],
        "extension of 4 GB": [head(9, b"\xc9\xff\xff\xff\xff\x01")],
        "bool in place of an integer": [head(9, [True, 1])],
        "float in place of an integer": [head(9, [1.0, 1])],
        "text in place of an integer": [head(9, ["1", 1])],
        "nil in place of an integer": [head(9, [None, 1])],
        "negative integer": [head(9, [-1, 1])],
        "integer above its bound": [head(9, [1, 2**32])],
        "integer in place of a bool": [head(8, [1, 1])],
        "integer in place of text": [head(20, [1, 5])],
        "bytes in place of text": [head(20, [1, b"bye"])],
        "text in place of bytes": [head(15, ["a" * 32, 0, 1])],
        "text that is not UTF-8": [head(20, b"\x92\x01\xa2\xff\xfe")],
        "text too long": [head(1, changed(HELLO, 4, "x" * 129))],
        "text with an escape sequence": [head(20, [1, "\x1b[2J"])],
        "hash of 31 bytes": [head(17, [[b"\x01" * 31]])],
        "key of 5 bytes": [head(19, [1, "tcp://h:1", b"12345", 1, [0, 0, 0, 0], []])],
        "no versions": [head(1, changed(HELLO, 0, []))],
        "version 0 among the versions": [head(1, changed(HELLO, 0, [1, 0]))],
        "too many paths": [head(17, [[HASH] * 257])],
        "paths that are no array": [head(17, [HASH])],
        "handle of one element": [head(2, changed(WELCOME, 2, [[1]]))],
        "handle above its bound": [head(2, changed(WELCOME, 2, [None, [1, 2**16]]))],
        "heartbeat of 0 ms": [head(2, changed(WELCOME, 8, 0))],
        "chunks of 1 byte": [head(2, changed(WELCOME, 5, 1))],
        "request 0": [head(3, changed(INFER, 1, 0)), b""],
        "no such class": [head(3, changed(INFER, 6, 2)), b""],
        "bool in place of a class": [head(3, changed(INFER, 6, True)), b""],
        "no refinement": [head(3, changed(INFER, 11, 0)), b""],
        "too many refinements": [head(3, changed(INFER, 11, 65)), b""],
        "too many dims": [head(3, changed(INFER, 12, [1] * 33)), b""],
        "dim that is no integer": [head(3, changed(INFER, 12, [1, "N"])), b""],
        "checksum above 32 bits": [head(3, changed(INFER, 14, 2**32)), b""],
        "infer without its payload": [head(3, INFER)],
        "infer with two payloads": [head(3, INFER), b"a", b"b"],
        "ping with a payload": [head(9, [1, 2]), b"x"],
        "ping with an empty payload": [head(9, [1, 2]), b""],
        "chunk index above its bound": [head(4, [1, 0, 2**16, True, 0]), b""],
        "final that is no bool": [head(5, changed(REPLY, 2, 1)), b""],
        "load of three": [head(5, changed(REPLY, 8, [0, 0, 0])), b""],
        "load that is no array": [head(5, changed(REPLY, 8, 0)), b""],
        "busier than busy": [head(5, changed(REPLY, 8, [0, 0, 1001, 0])), b""],
        "error code 0": [head(6, [1, 0, 0, ""])],
        "error code above 16 bits": [head(6, [1, 2**16, 0, ""])],
        "stream 0": [head(14, [0, 0])],
        "get of nothing": [head(15, [HASH, 0, 0])],
        "offer with a ticket too long": [
            head(18, [[[1, "tcp://h:1", b"", b"t" * 256, 1, [0, 0, 0, 0]]]])
        ],
    }


def describe(value: Any) -> Any:
    """A message as JSON: bytes as ``{"hex": ...}``, records by the name of their class."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, tuple):
        return [describe(item) for item in value]
    if isinstance(value, (Load, WorkerOffer)):
        return {type(value).__name__: describe_fields(value)}
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def describe_fields(value: Any) -> dict[str, Any]:
    """The fields of a message or a record as JSON."""
    return {f.name: describe(getattr(value, f.name)) for f in fields(value)}


def entry(name: str, frames: Sequence[Buffer], message: Message) -> dict[str, Any]:
    """One golden message."""
    return {
        "name": name,
        "kind": type(message).__name__,
        "fields": describe_fields(message),
        "frames": [bytes(frame).hex() for frame in frames],
    }


def refusal(frames: list[bytes]) -> str:
    """The error that `frames` end in."""
    try:
        message = decode(frames)
    except WireError as error:
        return f"{type(error).__name__}: {error}"
    raise SystemExit(f"not invalid: {message}")


def main() -> None:
    """Write the three files."""
    files = {
        "messages": [entry(name, encode(m), m) for name, m in messages().items()],
        "lenient": [entry(name, frames, decode(frames)) for name, frames in lenient().items()],
        "invalid": [
            {"name": name, "frames": [f.hex() for f in frames], "error": refusal(frames)}
            for name, frames in invalid().items()
        ],
    }
    for name, entries in files.items():
        text = json.dumps(entries, indent=1, ensure_ascii=False)
        (GOLDEN / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
