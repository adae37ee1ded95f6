"""Allow-lists: text files of the public keys that may connect, read again when they change."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from splitnet.errors import ConfigError
from splitnet.transport.keys import PublicKey, check_key

log = logging.getLogger(__name__)

_Stamp: TypeAlias = "tuple[int, int, int] | None"


class AllowList:
    """The keys that may connect, with their names.

    One key a line, behind a blank its name if it has one. A line that begins with ``#`` is a
    comment; no key does, since five characters of Z85 stand for 32 bits and ``#`` is worth too
    much to come first.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: _Stamp = None
        self._names: Mapping[str, str] = {}

    def __contains__(self, public: str) -> bool:
        return public in self._names

    def __len__(self) -> int:
        return len(self._names)

    def name(self, public: str) -> str:
        """Return the name of a key, nothing if it has none."""
        return self._names.get(public, "")

    def load(self) -> None:
        """Read the file.

        Raises
        ------
        ConfigError
            It cannot be read, or a line holds no key, or one that stands there already.
        """
        self._stamp = _stamp(self._file)
        self._names = parse_allow_list(_text(self._file), str(self._file))

    def refresh(self) -> bool:
        """Read the file again if it has changed, and return whether a key was taken away.

        A file that cannot be used is reported, and the keys from before stay.
        """
        if _stamp(self._file) == self._stamp:
            return False
        before = self._names
        try:
            self.load()
        except ConfigError as error:
            log.warning("allow-list kept as it was: %s", error)
            return False
        log.warning("allow-list read again: file=%s keys=%d", self._file, len(self))
        return not before.keys() <= self._names.keys()


def parse_allow_list(text: str, where: str) -> dict[str, str]:
    """Return the names of the keys in the text of an allow-list.

    Raises
    ------
    ConfigError
        A line holds no key, or one that stands there already; the message begins with `where`.
    """
    names: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, name = line.strip().partition(" ")
        if not key or key.startswith("#"):
            continue
        check_key(key, f"{where}:{number}")
        if key in names:
            raise ConfigError(
                f"{where}:{number}: the key {key} stands in line {lines[key]} already"
            )
        names[key], lines[key] = name.strip(), number
    return names


def allow(file: Path, keys: Sequence[PublicKey]) -> list[PublicKey]:
    """Append to an allow-list the keys that it does not hold yet, and return those.

    Raises
    ------
    ConfigError
        The list cannot be read or written.
    """
    text = _text(file) if file.exists() else ""
    known = parse_allow_list(text, str(file))
    new = {key.text: key for key in keys if key.text not in known}
    lines = [f"{key.text} {key.name}".rstrip() + "\n" for key in new.values()]
    if text and not text.endswith("\n"):
        lines.insert(0, "\n")
    try:
        with file.open("a", encoding="utf-8") as opened:
            opened.write("".join(lines))
    except OSError as error:
        raise ConfigError(f"cannot write the allow-list {file}: {error.strerror}") from error
    return list(new.values())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the allow-list {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the allow-list {file} is not a text file") from error


def _stamp(file: Path) -> _Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
