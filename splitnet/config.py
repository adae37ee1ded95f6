"""Configuration: one frozen dataclass a component, from command line, environment, file, default.

The order of precedence is command line > ``SPLITNET_*`` environment > TOML file > default.
"""

from __future__ import annotations

import difflib
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from math import inf
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from splitnet.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENV_PREFIX = "SPLITNET_"

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name nearest to `name`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def option(name: str) -> str:
    """Return the command line's form of the setting `name`."""
    return "--" + name.replace("_", "-")


def check_positive(settings: object, *names: str) -> None:
    """Refuse a number of `settings` that is not above 0, or not finite; ``None`` is accepted.

    Raises
    ------
    ConfigError
        The message names the option.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 < value < inf:
            raise ConfigError(f"{option(name)} is {value}, it must be above 0 and finite")


def check_not_negative(settings: object, *names: str) -> None:
    """Refuse a number of `settings` that is below 0, or not finite.

    Raises
    ------
    ConfigError
        The message names the setting.
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < inf:
            raise ConfigError(f"{name} is {value:g}, must not be negative, and finite")


def check_tables(file: Path, *known: str) -> None:
    """Refuse a TOML file that holds anything but the tables `known`.

    Raises
    ------
    ConfigError
        The message names the nearest known one.
    """
    strange = [name for name in read_tables(file) if name not in known]
    if strange:
        wanted = " and ".join(f"[{name}]" for name in known)
        raise ConfigError(
            f"{file}: unknown table [{strange[0]}]{nearest(strange[0], known)}; it takes {wanted}"
        )


def load_config(
    cls: type[T],
    section: str,
    *,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    spell: Callable[[str], str] = option,
) -> T:
    """Build the dataclass `cls` from the four sources.

    Parameters
    ----------
    section
        Name of the component, for instance ``edge``: the table of the TOML file and the middle of
        the environment names (``SPLITNET_EDGE_DEADLINE_MS``).
    options
        Values given on the command line; ``None`` stands for "not given".
    spell
        How people write the name of one of the `options`.

    Raises
    ------
    ConfigError
        An unknown key (with the nearest known one), a value of the wrong type, or a missing value.
    """
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    given: list[tuple[Callable[[str], str], Mapping[str, Any]]] = [
        (lambda key: f"{file}: [{section}] {key}", _from_file(file, section)),
        (lambda key: _variable(section, key), _from_environment(environ or {}, section)),
        (spell, {k: v for k, v in (options or {}).items() if v is not None}),
    ]
    for name_of, source in given:
        for key, value in source.items():
            if key not in known:
                raise ConfigError(f"{name_of(key)}: unknown setting{nearest(key, known)}")
            values[key] = _convert(value, hints[key], name_of(key))
    missing = [
        name
        for name, f in known.items()
        if name not in values and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"{section}: missing {', '.join(map(spell, missing))}")
    return cls(**values)


def read_tables(file: Path) -> Mapping[str, Any]:
    """Return the content of a TOML file (raises `ConfigError`)."""
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not a TOML file: {error}") from error


def _from_file(file: Path | None, section: str) -> Mapping[str, Any]:
    if file is None:
        return {}
    table = read_tables(file).get(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [{section}] must be a table")
    return {key.replace("-", "_"): value for key, value in table.items()}


def _from_environment(environ: Mapping[str, str], section: str) -> Mapping[str, str]:
    prefix = _variable(section, "")
    return {k.removeprefix(prefix).lower(): v for k, v in environ.items() if k.startswith(prefix)}


def _variable(section: str, key: str) -> str:
    """Return the environment's name of the setting `key`."""
    return f"{ENV_PREFIX}{section}_{key}".upper()


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Return `value` as the annotated type `hint`; text is parsed, as it comes from outside."""
    if get_origin(hint) in (Union, types.UnionType):
        choices = [h for h in get_args(hint) if h is not type(None)]
        return None if value is None else _convert(value, choices[0], where)
    if get_origin(hint) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ConfigError(f"{where}: {value!r} is not a list")
        return tuple(_convert(item, get_args(hint)[0], where) for item in items)
    try:
        if hint is bool:
            return _boolean(value)
        if hint in (int, float, str, Path):
            if hint is not str and isinstance(value, bool):
                raise ValueError
            if hint is int and isinstance(value, float) and not value.is_integer():
                raise ValueError
            return hint(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{where}: {value!r} is not {_TYPE_NAMES[hint]}") from None
    return value


_TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError
