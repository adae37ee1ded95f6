"""Addresses of workers: ``tcp://host:port``, without keys on loopback only."""

from __future__ import annotations

import re
from ipaddress import ip_address

from splitnet.errors import ConfigError

MAX_PORT = 65535

KEY_OPTIONS = {
    "--bind": "--key and --allow",
    "--connect": "--key and --server-key",
    "--directory": "--key and --directory-key",
}
"""The options that give keys to the owner of an address."""

_ENDPOINT = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[^:/\[\]]+):(?P<port>\d+|\*)")


def check_endpoint(text: str, option: str, *, keyed: bool = False) -> str:
    """Return the endpoint as the sockets take it.

    Parameters
    ----------
    option
        The option that `text` was given to. ``--bind`` accepts the port 0 or ``*``, which lets the
        system choose one.
    keyed
        Whether there are keys, so that the address need not be on loopback.

    Raises
    ------
    ConfigError
        Not a TCP endpoint, or not on loopback and without keys.
    """
    found = _ENDPOINT.fullmatch(text)
    if found is None:
        raise ConfigError(f"{option} {text!r} is not an endpoint; write tcp://127.0.0.1:5555")
    host = "127.0.0.1" if found["host"] == "localhost" else found["host"]
    if not keyed and not _is_loopback(host):
        raise ConfigError(
            f"{option} {text}: an address that is not loopback needs keys: give "
            f"{KEY_OPTIONS.get(option, '--key')} (splitnet keys new makes them), or use "
            "tcp://127.0.0.1:PORT"
        )
    if host == "*" and option != "--bind":
        raise ConfigError(f"{option} {text}: * stands for every address; name one")
    port = 0 if found["port"] == "*" else int(found["port"])
    if port > MAX_PORT or (port == 0 and option != "--bind"):
        raise ConfigError(f"{option} {text}: the port must be a number from 1 to {MAX_PORT}")
    return f"tcp://{host}:{port or '*'}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
