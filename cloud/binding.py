"""Where a worker listens and what it calls itself: a port of a range, an address for devices."""

from __future__ import annotations

import re
from collections.abc import Callable

from splitnet.errors import ConfigError, TransportError
from splitnet.transport.endpoints import MAX_PORT, check_endpoint
from splitnet.transport.router import Router

_RANGE = re.compile(r"(?P<address>tcp://.+):(?P<first>\d+)-(?P<last>\d+)")
_ADVERTISED = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[^:/\[\]]+)(:(?P<port>\d+))?")
_WILDCARDS = frozenset({"0.0.0.0", "[::]", "*"})


def check_bind(bind: str, *, keyed: bool = False) -> list[str]:
    """Return the endpoints that ``--bind`` allows: the 100 of ``tcp://HOST:5600-5699``, or one.

    Parameters
    ----------
    keyed
        Whether there are keys, so that the address need not be on loopback.

    Raises
    ------
    ConfigError
        It is no endpoint, the range is empty, or the address may not be used.
    """
    found = _RANGE.fullmatch(bind)
    if found is None:
        return [check_endpoint(bind, "--bind", keyed=keyed)]
    first, last = int(found["first"]), int(found["last"])
    if not 0 < first <= last <= MAX_PORT:
        raise ConfigError(f"--bind {bind}: a range of ports is FIRST-LAST, such as 5600-5699")
    return [
        check_endpoint(f"{found['address']}:{port}", "--bind", keyed=keyed)
        for port in range(first, last + 1)
    ]


def is_one_port(bind: str) -> bool:
    """Return whether ``--bind`` names one port, which one worker can have only."""
    port = bind.rpartition(":")[2]
    return port.isdigit() and int(port) > 0


def open_router(bind: str, make: Callable[[str], Router], *, keyed: bool = False) -> Router:
    """Open a router at the first endpoint of ``--bind`` that is free.

    Parameters
    ----------
    make
        Makes an unopened router for an endpoint.

    Raises
    ------
    TransportError
        None is free.
    """
    endpoints = check_bind(bind, keyed=keyed)
    for endpoint in endpoints:
        router = make(endpoint)
        try:
            router.open()
        except TransportError:
            if len(endpoints) == 1:
                raise
        else:
            return router
    raise TransportError(
        f"no port of --bind {bind} can be used: all {len(endpoints)} are taken or the address is "
        "not this machine's; choose another range"
    )


def advertised_endpoint(bound: str, advertise: str | None) -> str:
    """Return the endpoint at which devices reach a worker that is bound to `bound`.

    Parameters
    ----------
    advertise
        ``tcp://HOST``, to which the port that was bound is added, or ``tcp://HOST:PORT`` for a
        port that is forwarded; ``None`` for the address that was bound.

    Raises
    ------
    ConfigError
        It is no address, or is missing although the worker is bound to all of them.
    """
    address, _, port = bound.rpartition(":")
    if advertise is None:
        if address.removeprefix("tcp://") in _WILDCARDS:
            raise ConfigError(
                f"--bind {bound} says not at which address devices reach this worker; say it "
                "with --advertise tcp://HOST"
            )
        return bound
    found = _ADVERTISED.fullmatch(advertise)
    if found is None or found["host"] in _WILDCARDS:
        raise ConfigError(f"--advertise {advertise!r} is not an address; write tcp://HOST[:PORT]")
    return f"tcp://{found['host']}:{found['port'] or port}"
