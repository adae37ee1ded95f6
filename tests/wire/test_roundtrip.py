"""Every kind, with any values that its description allows, comes back as it was sent."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.wire import Message, decode, encode, size
from splitnet.wire.fields import (
    Binary,
    Boolean,
    Choice,
    FieldType,
    Integer,
    Many,
    Nullable,
    Prose,
    Record,
    Row,
    Text,
    field_types,
)

KINDS = get_args(Message)
PLAIN = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))


def text(most: int) -> st.SearchStrategy[str]:
    return st.text(PLAIN, max_size=most).filter(lambda value: len(value.encode()) <= most)


def integers(kind: Integer) -> st.SearchStrategy[int]:
    return st.sampled_from([kind.low, kind.high]) | st.integers(kind.low, kind.high)


def values(kind: FieldType) -> st.SearchStrategy[Any]:
    """Everything that `kind` can carry."""
    match kind:
        case Integer():
            return integers(kind)
        case Boolean():
            return st.booleans()
        case Choice():
            return st.sampled_from(kind.members)
        case Text() | Prose():
            return text(kind.most)
        case Binary():
            return st.sampled_from(kind.sizes).flatmap(lambda n: st.binary(min_size=n, max_size=n))
        case Nullable():
            return st.none() | values(kind.of)
        case Many():
            items = st.lists(values(kind.of), min_size=kind.least, max_size=min(kind.most, 40))
            return items.map(tuple)
        case Record():
            return st.builds(kind.cls, *map(values, kind.types))
        case Row():
            return st.tuples(*map(values, kind.types))
    raise AssertionError(kind)


def messages(cls: type[Any]) -> st.SearchStrategy[Any]:
    parts = {name: values(kind) for name, kind in field_types(cls).items()}
    if "payload" in cls.__dataclass_fields__:
        parts["payload"] = st.binary(max_size=64)
    return st.builds(cls, **parts)


@pytest.mark.parametrize("cls", KINDS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_round_trip(cls: type[Any], data: st.DataObject) -> None:
    message = data.draw(messages(cls))
    frames = encode(message)
    assert size(message) == sum(map(len, frames))
    back = decode(frames)
    assert back == message
    assert encode(back) == frames


@pytest.mark.parametrize("cls", KINDS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_elements_that_a_later_version_appends_are_ignored(
    cls: type[Any], data: st.DataObject
) -> None:
    message = data.draw(messages(cls))
    more = data.draw(st.lists(st.sampled_from([b"\x05", b"\xc0", b"\xc3", b"\xa1x", b"\x91\x90"])))
    head, *payload = map(bytes, encode(message))
    assert head[8] >> 4 == 9, "every array of version 1 has at most 15 elements"
    count = (head[8] & 15) + len(more)
    longer = head[:8] + b"\xdc" + count.to_bytes(2, "big") + head[9:] + b"".join(more)
    assert decode([longer, *payload]) == message
