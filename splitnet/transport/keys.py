"""CURVE keys and their files: a public one for everybody, a secret one for its owner alone.

Keys are text as ZeroMQ has them: 32 bytes as 40 characters of Z85 (ZeroMQ RFC 32). Read or make
them before the first context: ZeroMQ's random numbers are not to be started from two threads.
"""

from __future__ import annotations

import json
import os
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import zmq
from zmq.utils import z85

from splitnet.errors import ConfigError, TransportError

KeyKind: TypeAlias = Literal["device", "worker", "directory"]
"""Whose key it is."""

KINDS: tuple[KeyKind, ...] = get_args(KeyKind)

FORMAT = 1
"""Version of the files, the value of ``splitnet_key``."""

PUBLIC_SUFFIX, SECRET_SUFFIX = ".pub", ".key"

SECRET_MODE = 0o600
OTHERS = stat.S_IRWXG | stat.S_IRWXO

_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z._-]{0,63}")

AWKWARD = "-"
"""First character of keys that are not given out, since they look like an option."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that may be shown to everybody.

    Attributes
    ----------
    text
        The key, 40 characters of Z85.
    kind, name, created
        What its file says; a key given as text has no kind and no name.
    """

    text: str
    kind: KeyKind | None = None
    name: str = ""
    created: str = ""

    @property
    def raw(self) -> bytes:
        """The key as 32 bytes, as the wire has it."""
        return z85.decode(self.text)

    @classmethod
    def from_raw(cls, raw: bytes) -> PublicKey:
        """Return the key that the wire has as the 32 bytes `raw`."""
        return cls(z85.encode(raw).decode())


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public key and the secret one that proves it."""

    public: PublicKey
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What the side that connects needs: its own pair, and the key of the other side."""

    own: KeyPair
    server: PublicKey


def new_pair(kind: KeyKind, name: str, created: str) -> KeyPair:
    """Draw a key pair.

    Parameters
    ----------
    created
        Date and time, for people.

    Raises
    ------
    ConfigError
        `name` cannot be the name of a file.
    TransportError
        ZeroMQ was built without CURVE.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--name {name!r} must begin with a letter or a digit and hold at most 64 of them, "
            "dots, dashes and underscores"
        )
    _need_curve()
    while True:
        public, secret = (key.decode() for key in zmq.curve_keypair())
        if public[0] not in AWKWARD:
            return KeyPair(PublicKey(public, kind, name, created), secret)


def write_pair(pair: KeyPair, directory: Path) -> tuple[Path, Path]:
    """Write ``NAME.key`` (secret, for its owner alone) and ``NAME.pub``; return both.

    Raises
    ------
    ConfigError
        One of them is there already, or they cannot be written.
    """
    public = pair.public
    shown = {
        "splitnet_key": FORMAT,
        "kind": public.kind,
        "name": public.name,
        "public": public.text,
        "created": public.created,
    }
    secret_file = directory / (public.name + SECRET_SUFFIX)
    public_file = directory / (public.name + PUBLIC_SUFFIX)
    for file in (secret_file, public_file):
        if file.exists():
            raise ConfigError(f"{file} is there already; choose another --name or --out")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(secret_file, {**shown, "secret": pair.secret}, SECRET_MODE)
        _write(public_file, shown, 0o644)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from error
    return secret_file, public_file


def read_pair(file: Path, kind: KeyKind) -> KeyPair:
    """Return the pair of a secret file.

    Raises
    ------
    ConfigError
        The file cannot be read, others may read it, it is no secret key, or not of this `kind`.
    TransportError
        ZeroMQ was built without CURVE.
    """
    fields = _read(file)
    if "secret" not in fields:
        raise ConfigError(f"{file} holds a public key; the secret one ({SECRET_SUFFIX}) is needed")
    public = _public_of(fields, file)
    _check_kind(public, kind, file)
    secret = str(fields["secret"])
    if not _is_key(secret):
        raise ConfigError(f"{file}: the secret key is damaged; make new keys")
    _need_curve()
    if zmq.curve_public(secret.encode()).decode() != public.text:
        raise ConfigError(
            f"{file}: the public key does not belong to the secret one; make new keys"
        )
    return KeyPair(public, secret)


def read_public(text: str, kind: KeyKind | None, option: str) -> PublicKey:
    """Return the key that `text` names: a public file, or the key itself.

    Parameters
    ----------
    kind
        The kind that a file must say; ``None`` takes any.
    option
        Where `text` was given.

    Raises
    ------
    ConfigError
        Neither of both, or the file of another kind, or of a secret key.
    """
    file = Path(text)
    if not os.path.exists(file):
        if file.suffix == PUBLIC_SUFFIX and not _is_key(text):
            raise ConfigError(f"{option}: there is no file {text}")
        return PublicKey(check_key(text, option))
    fields = _read(file, secret_allowed=False)
    public = _public_of(fields, file)
    if kind is not None:
        _check_kind(public, kind, file)
    return public


def show_key(file: Path) -> PublicKey:
    """Return what may be shown of a key file, public or secret.

    Raises
    ------
    ConfigError
        The file cannot be read, is no key, or is a secret key that others may read.
    """
    return _public_of(_read(file), file)


def client_keys(
    key: Path | None, server_key: str | None, kind: KeyKind, server_kind: KeyKind
) -> ClientKeys | None:
    """Return the keys of a side that connects, ``None`` if none are given.

    Parameters
    ----------
    key, server_key
        What was given as ``--key`` and as ``--server-key``.
    kind, server_kind
        What this side and the other one are.

    Raises
    ------
    ConfigError
        Only one of both is given, or a key cannot be used.
    TransportError
        ZeroMQ was built without CURVE.
    """
    if key is None and server_key is None:
        return None
    if key is None:
        raise ConfigError(f"--server-key needs --key, the secret key of this {kind}")
    if server_key is None:
        raise ConfigError(f"--key needs --server-key, the public key of the {server_kind}")
    own = read_pair(key, kind)
    return ClientKeys(own, read_public(server_key, server_kind, "--server-key"))


def check_key(text: str, where: str) -> str:
    """Return `text` if it is a public key.

    Raises
    ------
    ConfigError
        It is not; the message begins with `where`.
    """
    if not _is_key(text):
        raise ConfigError(f"{where}: {text[:50]!r} is not a key: 40 characters of Z85 are needed")
    return text


def _is_key(text: str) -> bool:
    try:
        return bool(_KEY.fullmatch(text) and z85.decode(text))
    except struct.error:  # five characters that stand for more than 32 bits
        return False


def _write(file: Path, fields: Mapping[str, Any], mode: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as opened:
        json.dump(fields, opened, indent=2)
        opened.write("\n")


def _read(file: Path, *, secret_allowed: bool = True) -> Mapping[str, Any]:
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            fields = json.load(opened)
    except OSError as error:
        raise ConfigError(f"cannot read the key {file}: {error.strerror}") from error
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or "splitnet_key" not in fields:
        raise ConfigError(f"{file} is not a key file; splitnet keys new makes one")
    if fields["splitnet_key"] != FORMAT:
        raise ConfigError(
            f"{file} is of format {fields['splitnet_key']!r}, this program reads {FORMAT}"
        )
    if "secret" in fields:
        if not secret_allowed:
            raise ConfigError(f"{file} holds a secret key; give the public one ({PUBLIC_SUFFIX})")
        if mode & OTHERS:
            raise ConfigError(
                f"{file} holds a secret key and others may use the file (mode "
                f"{stat.S_IMODE(mode):04o}); chmod 600 {file}"
            )
    return fields


def _public_of(fields: Mapping[str, Any], file: Path) -> PublicKey:
    kind = fields.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"{file} is of kind {kind!r}, not one of {', '.join(KINDS)}")
    text = check_key(str(fields.get("public", "")), f"{file}: public")
    name, created = str(fields.get("name", "")), str(fields.get("created", ""))
    if not (_NAME.fullmatch(name) and created.isprintable()):
        raise ConfigError(f"{file}: the name {name[:64]!r} or the date {created[:64]!r} is damaged")
    return PublicKey(text, kind, name, created)


def _check_kind(public: PublicKey, kind: KeyKind, file: Path) -> None:
    if public.kind != kind:
        raise ConfigError(f"{file} is the key of a {public.kind}; that of a {kind} is needed")


def _need_curve() -> None:
    if not zmq.has("curve"):
        raise TransportError("this ZeroMQ was built without CURVE; install pyzmq from a wheel")
