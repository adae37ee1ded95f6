"""Messages to frames and back: an 8-byte prefix, a msgpack array, and a payload frame.

Both directions are made of the field types that `splitnet.wire.messages` declares. The parser
raises `WireError` and nothing else, on any bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from struct import Struct
from typing import Any, cast, get_args

import msgpack

from splitnet.errors import VersionMismatchError, WireError
from splitnet.wire.bounds import MAX_PAYLOAD_BYTES
from splitnet.wire.fields import Record, field_types
from splitnet.wire.messages import Message
from splitnet.wire.payload import Buffer, Hollow, Payload

PROTOCOL_VERSION = 1
"""Major version: a change of it means that old and new programs cannot talk."""

MAGIC = b"\x89SPL"
"""First bytes of every message; the first one is no text."""

MAX_HEAD_BYTES = 65_536
"""Largest first frame: an offer of 64 workers, or a hello with 512 hashes, stays below it."""

_MAX_TEXT_BYTES = 1024
_MAX_ELEMENTS = 512
"""Bounds of any text, bytes and array of a head, known or not; twice the largest of version 1."""

_PREFIX = Struct(">4sHH")
PREFIX_BYTES = _PREFIX.size


class _Layout:
    """Everything that is fixed about a kind of message."""

    def __init__(self, cls: type[Any]) -> None:
        self.name = cls.__name__
        self.prefix = _PREFIX.pack(MAGIC, PROTOCOL_VERSION, cls.kind)
        self.has_payload = fields(cls)[-1].name == "payload"
        self.frames = 2 if self.has_payload else 1
        self.body = Record(cls, field_types(cls))


def encode(message: Message) -> list[Buffer]:
    """Return the frames of `message`: the head, and the payload if its kind has one.

    Raises
    ------
    WireError
        A field is out of its bounds.
    ValueError
        The payload is `Hollow`.
    """
    layout = _by_class()[type(message)]
    head = _head(layout, message)
    payload: Payload | None = getattr(message, "payload", None)
    if payload is None:
        return [head]
    if isinstance(payload, Hollow):
        raise ValueError(f"{layout.name}: a hollow payload has a size but no bytes to send")
    _check_payload(layout, payload)
    return [head, payload]


def size(message: Message) -> int:
    """Return the bytes of `message` on the wire, head and payload; `Hollow` counts as bytes."""
    layout = _by_class()[type(message)]
    head_bytes = PREFIX_BYTES + layout.body.size(message)
    payload: Payload | None = getattr(message, "payload", None)
    return head_bytes if payload is None else head_bytes + len(payload)


def decode(frames: Sequence[Buffer]) -> Message:
    """Return the message that `frames` are; its payload is the second frame, not a copy.

    Raises
    ------
    VersionMismatchError
        The sender speaks another major version; the text names both.
    WireError
        Anything else is wrong; the text names the field, its value and what is allowed.
    """
    if not frames:
        raise WireError("a message without frames, needs a head")
    head = frames[0]
    layout = _by_prefix().get(bytes(head[:PREFIX_BYTES]))
    if layout is None:
        raise _prefix_refusal(bytes(head[:PREFIX_BYTES]))
    if len(frames) != layout.frames:
        needed = "head and payload" if layout.has_payload else "the head alone"
        raise WireError(f"{layout.name} has {len(frames)} frames, must be {needed}")
    elements = _unpacked(layout, head)
    try:
        values = layout.body.values(elements)
    except ValueError as error:
        raise WireError(f"{layout.name}{error}") from None
    if layout.has_payload:
        _check_payload(layout, frames[1])
        values.append(frames[1])
    return cast(Message, layout.body.cls(*values))


def _head(layout: _Layout, message: Message) -> bytes:
    try:
        elements = layout.body.write(message)
    except ValueError as error:
        raise WireError(f"{layout.name}{error}") from None
    head: bytes = layout.prefix + msgpack.packb(elements)
    if len(head) > MAX_HEAD_BYTES:
        raise WireError(f"{layout.name} has a head of {len(head)} bytes, at most {MAX_HEAD_BYTES}")
    return head


def _unpacked(layout: _Layout, head: Buffer) -> Any:
    if len(head) > MAX_HEAD_BYTES:
        raise WireError(f"{layout.name} has a head of {len(head)} bytes, at most {MAX_HEAD_BYTES}")
    try:
        return msgpack.unpackb(
            head[PREFIX_BYTES:],
            use_list=False,
            max_str_len=_MAX_TEXT_BYTES,
            max_bin_len=_MAX_TEXT_BYTES,
            max_array_len=_MAX_ELEMENTS,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise WireError(f"{layout.name} has a head that is not msgpack: {reason}") from error


def _check_payload(layout: _Layout, payload: Buffer) -> None:
    if isinstance(payload, memoryview) and payload.nbytes != len(payload):
        raise WireError(f"{layout.name}.payload is a view of {payload.format!r}, must be bytes")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise WireError(
            f"{layout.name}.payload has {len(payload)} bytes, allowed are at most "
            f"{MAX_PAYLOAD_BYTES}; send it in chunks"
        )


def _prefix_refusal(prefix: bytes) -> WireError:
    if len(prefix) < PREFIX_BYTES:
        return WireError(f"a head of {len(prefix)} bytes, needs at least {PREFIX_BYTES}")
    magic, version, kind = _PREFIX.unpack(prefix)
    if magic != MAGIC:
        return WireError(f"a head that begins with {magic!r}, must be {MAGIC!r}")
    if version != PROTOCOL_VERSION:
        return VersionMismatchError(
            f"the other side speaks protocol version {version}, this side {PROTOCOL_VERSION}; "
            "update the older one"
        )
    return WireError(f"kind {kind} is unknown, kinds are 1 to {len(_by_class())}")


@cache
def _by_class() -> dict[type[Any], _Layout]:
    return {cls: _Layout(cls) for cls in get_args(Message)}


@cache
def _by_prefix() -> dict[bytes, _Layout]:
    return {layout.prefix: layout for layout in _by_class().values()}
