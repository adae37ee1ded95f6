"""Frozen dataclasses to JSON and back, with every mistake named by its place.

The form is the plain one: a dataclass is an object with its fields as keys, a tuple is a list. The
reader follows the type annotations and accepts nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from splitnet.config import nearest
from splitnet.errors import BundleError

T = TypeVar("T")

_MAX_INTEGER = 2**63 - 1
_MAX_DEPTH = 16  # of free values (codec configurations, roles); a bound on recursion


def to_json(value: Any) -> Any:
    """Return `value` as dicts, lists, text and numbers."""
    if is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def canonical(value: Any) -> bytes:
    """Return the one JSON text that stands for `value`: sorted keys, no spaces, ASCII."""
    form = to_json(value)
    return json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest(value: Any) -> bytes:
    """Return the SHA-256 of the canonical JSON text of `value`."""
    return hashlib.sha256(canonical(value)).digest()


def parse(data: bytes, file: str) -> Any:
    """Return the JSON value in `data` (raises `BundleError` if it is none)."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is not JSON ({error}); build the bundle again") from error


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the JSON form of dataclasses from one file of a bundle.

    Attributes
    ----------
    file
        Name of the file, the beginning of every message.
    version
        The only version that is read.
    refuse_unknown
        Whether an unknown key is an error; otherwise it is ignored.
    """

    file: str
    version: int
    refuse_unknown: bool

    def read(self, cls: type[T], data: Any) -> T:
        """Return the object of type `cls` in `data`, a JSON object with a ``version``.

        Raises
        ------
        BundleError
            Another version, a wrong type, a missing or unknown key; the message names its place.
        """
        if not isinstance(data, dict):
            raise self._error("", f"must be an object, is {_kind(data)}")
        version = data.get("version")
        if isinstance(version, bool) or version != self.version:
            raise BundleError(
                f"{self.file} has version {version!r}, this program reads version {self.version}; "
                "build the bundle again or install the splitnet that wrote it"
            )
        body = {key: item for key, item in data.items() if key != "version"}
        result = self._value(cls, body, "")
        assert isinstance(result, cls)
        return result

    def _value(self, hint: Any, data: Any, where: str) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if hint is Any:
            return self._free(data, where, _MAX_DEPTH)
        if is_dataclass(hint):
            return self._object(hint, data, where)
        if origin is tuple:
            return self._list(arguments[0], data, where)
        if origin is Literal:
            if data not in arguments:
                raise self._error(where, f"must be one of {', '.join(arguments)}, is {data!r}")
            return data
        if origin in (Union, types.UnionType):
            return self._union(arguments, data, where)
        if origin is not None and issubclass(origin, Mapping):
            self._expect(dict, data, where)
            return {
                key: self._value(arguments[1], item, join(where, key)) for key, item in data.items()
            }
        return self._scalar(hint, data, where)

    def _object(self, cls: Any, data: Any, where: str) -> Any:
        self._expect(dict, data, where)
        hints = _hints(cls)
        if self.refuse_unknown:
            for key in data:
                if key not in hints:
                    raise self._error(join(where, key), f"unknown key{nearest(key, hints)}")
        values = {}
        for field in fields(cls):
            if field.name in data:
                place = join(where, field.name)
                values[field.name] = self._value(hints[field.name], data[field.name], place)
            elif field.default is MISSING and field.default_factory is MISSING:
                raise self._error(join(where, field.name), "is missing")
        return cls(**values)

    def _list(self, hint: Any, data: Any, where: str) -> tuple[Any, ...]:
        self._expect(list, data, where)
        return tuple(self._value(hint, item, f"{where}[{i}]") for i, item in enumerate(data))

    def _union(self, hints: tuple[Any, ...], data: Any, where: str) -> Any:
        if data is None and type(None) in hints:
            return None
        choices = [hint for hint in hints if hint is not type(None)]
        for hint in choices[:-1]:
            if isinstance(hint, type) and isinstance(data, hint) and not isinstance(data, bool):
                return self._value(hint, data, where)
        return self._value(choices[-1], data, where)

    def _scalar(self, hint: Any, data: Any, where: str) -> Any:
        if hint is float and isinstance(data, int) and not isinstance(data, bool):
            self._scalar(int, data, where)
            return float(data)
        self._expect(hint, data, where)
        if hint is int and abs(data) > _MAX_INTEGER:
            raise self._error(where, f"is beyond {_MAX_INTEGER}")
        if hint is float and not math.isfinite(data):
            raise self._error(where, "is not a finite number")
        return data

    def _free(self, data: Any, where: str, depth: int) -> Any:
        """Check a value whose form is somebody else's business, as far as JSON goes."""
        if depth == 0:
            raise self._error(where, f"is nested deeper than {_MAX_DEPTH}")
        if isinstance(data, dict):
            return {k: self._free(v, join(where, k), depth - 1) for k, v in data.items()}
        if isinstance(data, list):
            return [self._free(v, f"{where}[{i}]", depth - 1) for i, v in enumerate(data)]
        if isinstance(data, (int, float)) and not isinstance(data, bool):
            return self._scalar(type(data), data, where)
        return data

    def _expect(self, cls: type[Any], data: Any, where: str) -> None:
        if not isinstance(data, cls) or (isinstance(data, bool) and cls is not bool):
            raise self._error(where, f"must be {_NAMES[cls]}, is {_kind(data)}")

    def _error(self, where: str, message: str) -> BundleError:
        return BundleError(f"{self.file}: {where or 'the whole file'}: {message}")


def join(where: str, key: str) -> str:
    """Return the place of `key` inside the object at `where`."""
    return f"{where}.{key}" if where else key


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


_NAMES: Mapping[type[Any], str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def _kind(data: Any) -> str:
    return "null" if data is None else _NAMES[type(data)]
