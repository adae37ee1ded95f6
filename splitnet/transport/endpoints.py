"""Addresses of workers: ``tcp://host:port``, on loopback only as long as there are no keys."""

from __future__ import annotations

import re
from ipaddress import ip_address

from splitnet.errors import ConfigError

MAX_PORT = 65535

_ENDPOINT = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[^:/\[\]]+):(?P<port>\d+|\*)")


def check_endpoint(text: str, option: str) -> str:
    """Return the endpoint as the sockets take it.

    Parameters
    ----------
    option
        The option that `text` was given to. ``--bind`` accepts the port 0 or ``*``, which lets the
        system choose one.

    Raises
    ------
    ConfigError
        Not a TCP endpoint, or not on loopback.
    """
    found = _ENDPOINT.fullmatch(text)
    if found is None:
        raise ConfigError(f"{option} {text!r} is not an endpoint; write tcp://127.0.0.1:5555")
    host = "127.0.0.1" if found["host"] == "localhost" else found["host"]
    if not _is_loopback(host):
        raise ConfigError(
            f"{option} {text}: an address that is not loopback needs keys, which are not available "
            "yet; use tcp://127.0.0.1:PORT"
        )
    port = 0 if found["port"] == "*" else int(found["port"])
    if port > MAX_PORT or (port == 0 and option != "--bind"):
        raise ConfigError(f"{option} {text}: the port must be a number from 1 to {MAX_PORT}")
    return f"tcp://{host}:{port or '*'}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
