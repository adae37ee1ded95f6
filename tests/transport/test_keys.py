"""Key files: what is written, and everything that is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, get_args

import pytest

from splitnet import keys as command
from splitnet.errors import ConfigError
from splitnet.transport.keys import (
    AWKWARD,
    KeyKind,
    PublicKey,
    client_keys,
    new_pair,
    read_pair,
    read_public,
    show_key,
)
from tests.transport.key_files import KeyFiles, make_keys


@pytest.fixture
def device(tmp_path: Path) -> KeyFiles:
    return make_keys(tmp_path, "device", "pi-7")


def rewrite(file: Path, **changes: Any) -> None:
    fields = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))


def test_the_command_knows_every_kind() -> None:
    assert get_args(KeyKind) == command.KINDS


def test_a_pair_comes_back_from_its_file(device: KeyFiles) -> None:
    assert read_pair(device.secret, "device") == device.pair
    assert len(device.pair.public.raw) == 32
    assert device.pair.public.text[0] not in AWKWARD


def test_the_secret_is_for_its_owner_alone_and_never_shown(device: KeyFiles) -> None:
    assert stat.S_IMODE(device.secret.stat().st_mode) == 0o600
    assert device.pair.secret not in device.public.read_text()
    assert device.pair.secret not in repr(device.pair)
    assert show_key(device.secret) == show_key(device.public) == device.pair.public


def test_a_public_key_is_given_as_a_file_or_as_text(device: KeyFiles) -> None:
    public = device.pair.public
    assert read_public(str(device.public), "device", "--server-key") == public
    assert read_public(public.text, "device", "--server-key") == PublicKey(public.text)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_file_that_others_may_read_is_refused(device: KeyFiles, mode: int) -> None:
    device.secret.chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o}\); chmod 600 "):
        read_pair(device.secret, "device")
    with pytest.raises(ConfigError, match="chmod 600"):
        show_key(device.secret)


def test_a_key_of_another_kind_is_refused(device: KeyFiles) -> None:
    with pytest.raises(ConfigError, match="is the key of a device; that of a worker is needed"):
        read_pair(device.secret, "worker")
    with pytest.raises(ConfigError, match="is the key of a device; that of a worker is needed"):
        read_public(str(device.public), "worker", "--server-key")


def test_public_and_secret_are_not_mixed_up(device: KeyFiles) -> None:
    with pytest.raises(ConfigError, match="holds a public key; the secret one"):
        read_pair(device.public, "device")
    with pytest.raises(ConfigError, match="holds a secret key; give the public one"):
        read_public(str(device.secret), "device", "--server-key")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"secret": "x" * 39}, "the secret key is damaged"),
        ({"secret": "~" * 40}, "the secret key is damaged"),
        ({"secret": "#" * 40}, "the secret key is damaged"),  # more than 32 bits
        ({"public": "0" * 40}, "does not belong to the secret one"),
        ({"public": None}, "public: '' is not a key: 40 characters of Z85"),
        ({"public": 7}, "public: '7' is not a key"),
        ({"kind": "toaster"}, "is of kind 'toaster', not one of device, worker, directory"),
        ({"kind": None}, "is of kind None"),
        ({"name": "a\nb"}, "the name 'a.*b' or the date"),
        ({"splitnet_key": 2}, "is of format 2, this program reads 1"),
    ],
)
def test_a_damaged_key_file(device: KeyFiles, changes: dict[str, Any], message: str) -> None:
    rewrite(device.secret, **changes)
    with pytest.raises(ConfigError, match=message) as refused:
        read_pair(device.secret, "device")
    assert device.pair.secret not in str(refused.value)
    assert "x" * 39 not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b'{"a": 1}', b"[" * 100_000])
def test_what_is_no_key_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.key").write_bytes(content)
    with pytest.raises(ConfigError, match="is not a key file; splitnet keys new makes one"):
        read_pair(tmp_path / "x.key", "device")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the key .*: No such file"):
        read_pair(tmp_path / "no.key", "device")
    with pytest.raises(ConfigError, match="--server-key: there is no file"):
        read_public(str(tmp_path / "no.pub"), "worker", "--server-key")
    with pytest.raises(ConfigError, match="--server-key: 'no' is not a key"):
        read_public("no", "worker", "--server-key")


def test_nothing_is_overwritten(device: KeyFiles, tmp_path: Path) -> None:
    before = device.secret.read_bytes()
    with pytest.raises(ConfigError, match=r"pi-7\.key is there already"):
        make_keys(tmp_path, "device", "pi-7")
    assert device.secret.read_bytes() == before


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x" * 65])
def test_names_that_are_no_file_names(name: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        new_pair("device", name, "")


def test_a_client_needs_both_keys_or_none(device: KeyFiles, tmp_path: Path) -> None:
    worker = make_keys(tmp_path, "worker", "worker")
    assert client_keys(None, None, "device", "worker") is None
    with pytest.raises(ConfigError, match="--key needs --server-key, the public key of the worker"):
        client_keys(device.secret, None, "device", "worker")
    with pytest.raises(ConfigError, match="--server-key needs --key, the secret key of this dev"):
        client_keys(None, str(worker.public), "device", "worker")
    found = client_keys(device.secret, str(worker.public), "device", "worker")
    assert found is not None
    assert (found.own, found.server) == (device.pair, worker.pair.public)
