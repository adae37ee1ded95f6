"""Golden messages: bytes that may not change, and bytes that must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from splitnet import wire
from splitnet.errors import VersionMismatchError, WireCode, WireError
from splitnet.values import Load
from splitnet.wire import Message, WorkerOffer, decode, encode, size

GOLDEN = Path(__file__).parent / "golden"


def read(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    return entries


def named(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def frames_of(entry: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(frame) for frame in entry["frames"]]


def value_of(described: Any) -> Any:
    if isinstance(described, list):
        return tuple(value_of(item) for item in described)
    if isinstance(described, dict):
        ((name, content),) = described.items()
        if name == "hex":
            return bytes.fromhex(content)
        return {"Load": Load, "WorkerOffer": WorkerOffer}[name](**fields_of(content))
    return described


def fields_of(described: dict[str, Any]) -> dict[str, Any]:
    return {name: value_of(value) for name, value in described.items()}


def message_of(entry: dict[str, Any]) -> Message:
    message: Message = getattr(wire, entry["kind"])(**fields_of(entry["fields"]))
    return message


@pytest.mark.parametrize("entry", read("messages"), ids=named)
def test_message_is_written_as_the_golden_frames(entry: dict[str, Any]) -> None:
    message = message_of(entry)
    assert encode(message) == frames_of(entry)
    assert size(message) == sum(map(len, frames_of(entry)))


@pytest.mark.parametrize("entry", read("messages") + read("lenient"), ids=named)
def test_golden_frames_are_read_as_the_message(entry: dict[str, Any]) -> None:
    assert decode(frames_of(entry)) == message_of(entry)


@pytest.mark.parametrize("view", [bytearray, memoryview])
@pytest.mark.parametrize("entry", read("messages"), ids=named)
def test_frames_may_be_any_buffer(entry: dict[str, Any], view: Any) -> None:
    assert decode([view(frame) for frame in frames_of(entry)]) == message_of(entry)


@pytest.mark.parametrize("entry", read("invalid"), ids=named)
def test_invalid_frames_are_refused_with_the_golden_error(entry: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        decode(frames_of(entry))
    error = f"{type(caught.value).__name__}: {caught.value}"
    library = "not msgpack: "  # what follows is the library's text and may change with it
    assert error.partition(library)[0] == entry["error"].partition(library)[0]


def test_every_kind_has_a_golden_message() -> None:
    assert {entry["kind"] for entry in read("messages")} == {c.__name__ for c in get_args(Message)}


def test_version_errors_name_both_versions_and_have_their_own_code() -> None:
    refused = {entry["name"]: frames_of(entry) for entry in read("invalid")}
    with pytest.raises(VersionMismatchError, match=r"version 2, this side 1") as caught:
        decode(refused["a later version"])
    assert caught.value.wire_code is WireCode.VERSION


def test_payload_of_a_read_message_is_the_frame_itself() -> None:
    frames = next(frames_of(entry) for entry in read("messages") if entry["name"] == "reply")
    message = decode(frames)
    assert isinstance(message, wire.Reply)
    assert message.payload is frames[1]
