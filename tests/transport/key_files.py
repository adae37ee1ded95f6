"""Keys for tests of both ends of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitnet.transport.allow_list import allow
from splitnet.transport.keys import KeyKind, KeyPair, new_pair, write_pair


@dataclass(frozen=True)
class KeyFiles:
    """A pair and its files."""

    pair: KeyPair
    secret: Path
    public: Path


def make_keys(directory: Path, kind: KeyKind, name: str) -> KeyFiles:
    pair = new_pair(kind, name, "2026-01-01")
    return KeyFiles(pair, *write_pair(pair, directory))


def make_list(file: Path, keys: Sequence[KeyFiles]) -> Path:
    """Write an allow-list anew."""
    file.unlink(missing_ok=True)
    allow(file, [key.pair.public for key in keys])
    return file
