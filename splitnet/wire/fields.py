"""The types of the elements of a message: each checks, writes, sizes and reads a msgpack element.

A message class names the type of each field in its annotation (``request: Annotated[int,
Integer(1, 9)]``); parser and serialiser are both made of it. Types raise `ValueError` with a
text that follows the field's name; framing turns it into a `WireError`.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from typing import Any, Protocol, get_type_hints

_NUMBER_BYTES = [1] * 8 + [2] + [3] * 8 + [5] * 16 + [9] * 32
"""Bytes of a number from 0 on, or of a boolean, by its length in bits."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MAX_UNKNOWN = 2**16 - 1


class FieldType(Protocol):
    """How one element of an array is written and read; both raise `ValueError`.

    The size of a value is that of what `write` makes of it, and says nothing of one that `write`
    refuses. Source of all sizes: the msgpack specification, "Formats".
    """

    def write(self, value: Any) -> Any:
        """Return `value` as msgpack packs it."""

    def size(self, value: Any) -> int:
        """Return the bytes of `value` once it is packed."""

    def read(self, element: Any) -> Any:
        """Return the value of an unpacked element."""


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer from `low` to `high`; a bool is not one."""

    low: int
    high: int

    def write(self, value: Any) -> int:
        """Return `value`, checked."""
        if isinstance(value, int) and value is not True and value is not False:
            if self.low <= value <= self.high:
                return value
        raise self._refusal(value)

    def size(self, value: int) -> int:
        """Return the bytes of the shortest form, which msgpack takes."""
        return _NUMBER_BYTES[value.bit_length()]

    def read(self, element: Any) -> int:
        """Return `element`, checked."""
        if type(element) is int and self.low <= element <= self.high:
            return element
        raise self._refusal(element)

    def _refusal(self, value: Any) -> ValueError:
        return ValueError(f" is {_shown(value)}, must be an integer {self.low} to {self.high}")


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false; an integer is not one."""

    def write(self, value: Any) -> bool:
        """Return `value`, checked."""
        if value is True or value is False:
            return value
        raise ValueError(f" is {_shown(value)}, must be true or false")

    def size(self, value: Any) -> int:
        """Return the one byte of a boolean."""
        del value
        return 1

    read = write


class Choice:
    """A member of an enumeration, as its number.

    If `unknown` is given, a number up to 65,535 that no member has is read as that member, so
    that a later minor version may add members.
    """

    def __init__(self, members: type[IntEnum], unknown: IntEnum | None = None) -> None:
        self.members = tuple(members)
        self.unknown = unknown
        self._by_number = {member.value: member for member in members}

    def write(self, value: Any) -> int:
        """Return the number of a member."""
        if isinstance(value, int) and not isinstance(value, bool) and value in self._by_number:
            return int(value)
        raise self._refusal(value)

    def size(self, value: int) -> int:
        """Return the bytes of the number of a member."""
        return _NUMBER_BYTES[value.bit_length()]

    def read(self, element: Any) -> IntEnum:
        """Return the member of a number."""
        if type(element) is int:
            if element in self._by_number:
                return self._by_number[element]
            if self.unknown is not None and 0 < element <= _MAX_UNKNOWN:
                return self.unknown
        raise self._refusal(element)

    def _refusal(self, value: Any) -> ValueError:
        if self.unknown is not None:
            return ValueError(f" is {_shown(value)}, must be an integer 1 to {_MAX_UNKNOWN}")
        known = ", ".join(f"{m.value} ({m.name.lower()})" for m in self.members)
        return ValueError(f" is {_shown(value)}, must be one of {known}")


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8 text of at most `most` bytes without control characters."""

    most: int

    def write(self, value: Any) -> str:
        """Return `value`, checked."""
        if type(value) is not str:
            raise ValueError(f" is {_shown(value)}, must be text")
        try:
            nbytes = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise ValueError(f" is {_shown(value)}, must be UTF-8 text") from None
        if nbytes > self.most:
            raise ValueError(f" has {nbytes} bytes, allowed are at most {self.most}")
        if found := _CONTROL.search(value):
            raise ValueError(f" has the control character {found[0]!r}, must be plain text")
        return value

    def size(self, value: Any) -> int:
        """Return the bytes of the text and of its length."""
        return _with_length(len(value.encode("utf-8", "replace")), short=31)

    read = write


@dataclass(frozen=True, slots=True)
class Prose:
    """Text for people: the sender blanks control characters and cuts it to `most` bytes."""

    most: int

    def write(self, value: Any) -> str:
        """Return `value` as it may be sent."""
        if type(value) is not str:
            raise ValueError(f" is {_shown(value)}, must be text")
        plain = _CONTROL.sub(" ", value).encode("utf-8", "replace")
        return plain[: self.most].decode("utf-8", "ignore")

    def size(self, value: Any) -> int:
        """Return the bytes of what is sent of the text, and of its length."""
        return Text(self.most).size(self.write(value))

    def read(self, element: Any) -> str:
        """Return `element`, checked."""
        return Text(self.most).read(element)


@dataclass(frozen=True, slots=True)
class Binary:
    """Bytes whose number lies in `sizes`."""

    sizes: range

    def write(self, value: Any) -> bytes:
        """Return `value`, checked."""
        if type(value) is not bytes:
            raise ValueError(f" is {_shown(value)}, must be bytes")
        if len(value) not in self.sizes:
            between = " or " if len(self.sizes) == 2 else " to "
            allowed = between.join(str(n) for n in dict.fromkeys((self.sizes[0], self.sizes[-1])))
            raise ValueError(f" has {len(value)} bytes, allowed are {allowed}")
        return value

    def size(self, value: Any) -> int:
        """Return the bytes and those of their number."""
        return _with_length(len(value), short=-1)

    read = write


@dataclass(frozen=True, slots=True)
class Nullable:
    """A value of the type `of`, or nil for ``None``."""

    of: FieldType

    def write(self, value: Any) -> Any:
        """Return the element of `value`, nil for ``None``."""
        return None if value is None else self.of.write(value)

    def size(self, value: Any) -> int:
        """Return the bytes of the value, 1 for ``None``."""
        return 1 if value is None else self.of.size(value)

    def read(self, element: Any) -> Any:
        """Return the value of `element`, ``None`` for nil."""
        return None if element is None else self.of.read(element)


@dataclass(frozen=True, slots=True)
class Many:
    """An array of `least` to `most` elements of the type `of`; a tuple in Python."""

    of: FieldType
    most: int
    least: int = 0

    def write(self, value: Any) -> list[Any]:
        """Return the elements of the tuple `value`."""
        return self._each(value, self.of.write)

    def size(self, value: Any) -> int:
        """Return the bytes of all elements and of their number."""
        return _array_bytes(len(value)) + sum(map(self.of.size, value))

    def read(self, element: Any) -> tuple[Any, ...]:
        """Return the values of the array `element`."""
        return tuple(self._each(element, self.of.read))

    def _each(self, items: Any, convert: Any) -> list[Any]:
        _check_array(items)
        if not self.least <= len(items) <= self.most:
            raise ValueError(f" has {len(items)} elements, allowed are {self.least} to {self.most}")
        done: list[Any] = []
        try:
            for item in items:
                done.append(convert(item))
        except ValueError as error:
            raise ValueError(f"[{len(done)}]{error}") from None
        return done


class Row:
    """An array of elements with a type each; a plain tuple in Python.

    Elements behind the last known one are ignored: a later minor version may append some.
    """

    def __init__(self, types: Mapping[str, FieldType]) -> None:
        self.names = tuple(types)
        self.types = tuple(types.values())
        self._write = tuple(of.write for of in self.types)
        self._sizes = tuple(of.size for of in self.types)
        self._own_bytes = _array_bytes(len(self.types))
        self._read = tuple(of.read for of in self.types)

    def write(self, value: Any) -> list[Any]:
        """Return the elements of the tuple `value`."""
        _check_array(value)
        return self._each(value, self._write)

    def size(self, value: Any) -> int:
        """Return the bytes of all elements and of their number."""
        sizes = (size(item) for size, item in zip(self._sizes, value, strict=True))
        return self._own_bytes + sum(sizes)

    def read(self, element: Any) -> Any:
        """Return the values of the array `element` as a tuple."""
        return tuple(self.values(element))

    def values(self, element: Any) -> list[Any]:
        """Return the values of the array `element`."""
        _check_array(element)
        return self._each(element, self._read)

    def _each(self, items: tuple[Any, ...], converters: tuple[Any, ...]) -> list[Any]:
        if len(items) < len(converters):
            raise ValueError(f" has {len(items)} elements, needs {len(converters)}")
        done: list[Any] = []
        try:
            for convert, item in zip(converters, items, strict=False):
                done.append(convert(item))
        except ValueError as error:
            raise ValueError(f".{self.names[len(done)]}{error}") from None
        return done


class Record(Row):
    """A `Row` that is a dataclass in Python."""

    def __init__(self, cls: type[Any], types: Mapping[str, FieldType]) -> None:
        super().__init__(types)
        self.cls = cls
        self._values = _getter(self.names)
        numbers = [name for name, of in types.items() if isinstance(of, Integer | Boolean | Choice)]
        self._numbers = _getter(numbers)
        self._others = [
            (attrgetter(name), of.size) for name, of in types.items() if name not in numbers
        ]

    def write(self, value: Any) -> list[Any]:
        """Return the fields of the instance `value` as elements."""
        if not isinstance(value, self.cls):
            raise ValueError(f" is {_shown(value)}, must be a {self.cls.__name__}")
        return self._each(self._values(value), self._write)

    def size(self, value: Any) -> int:
        """Return the bytes of all fields and of their number."""
        # Most fields are numbers: map asks all of them without a call of Python for each.
        numbers = map(int.bit_length, self._numbers(value))
        nbytes = self._own_bytes + sum(map(_NUMBER_BYTES.__getitem__, numbers))
        for get, size in self._others:
            nbytes += size(get(value))
        return nbytes

    def read(self, element: Any) -> Any:
        """Return the instance of the array `element`."""
        return self.cls(*self.values(element))


def field_types(cls: type[Any]) -> dict[str, FieldType]:
    """Return the types that the annotations of the dataclass `cls` declare, in order.

    A field whose annotation declares none (a payload) is left out.
    """
    hints = get_type_hints(cls, include_extras=True)
    declared = {f.name: getattr(hints[f.name], "__metadata__", ()) for f in fields(cls)}
    return {name: metadata[0] for name, metadata in declared.items() if metadata}


def check_field(cls: type[Any], name: str, value: Any) -> None:
    """Raise `ValueError` unless the field `name` of the dataclass `cls` takes `value`.

    Whoever sets such a value learns so before the first message is written.
    """
    field_types(cls)[name].write(value)


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function from an object to the tuple of its attributes `names`."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _array_bytes(elements: int) -> int:
    """Return the bytes of the beginning of an array."""
    return 1 if elements <= 15 else 3


def _with_length(nbytes: int, short: int) -> int:
    """Return the bytes of a text or of bytes; up to `short` the length takes no byte of its own."""
    return nbytes + (1 if nbytes <= short else 2 if nbytes <= 0xFF else 3)


def _check_array(value: Any) -> None:
    if type(value) is not tuple:
        raise ValueError(f" is {_shown(value)}, must be an array")


def _shown(value: Any) -> str:
    return "nil" if value is None else reprlib.repr(value)
