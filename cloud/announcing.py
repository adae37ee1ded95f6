"""Announcing a worker to the directory: a lease, renewed three times before it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from splitnet.cloud.config import CloudConfig
from splitnet.errors import ConfigError, OverloadError, TransportError, WireError
from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.transport.endpoints import check_endpoint
from splitnet.transport.keys import ClientKeys, read_pair, read_public
from splitnet.transport.reactor import Reactor
from splitnet.values import Load
from splitnet.wire import MAX_HEAD_BYTES, Announce, Error, Message, Ping, decode, encode

log = logging.getLogger(__name__)

RENEWALS = 3
"""Announcements within a lease (docs/wire.md, announce)."""

QUEUE_BYTES = 1 << 20
"""Bound on what waits to be sent to a directory that does not read."""

CONNECT_S = 2.0
"""Time that connecting to the directory may take."""

RETRY_S = 1.0
"""Pause before a directory that could not be reached is tried again."""


class Announcer:
    """Keeps the lease of a worker alive; a directory that is down costs nothing but the lease.

    It belongs to the thread of the worker's reactor, which calls `step` whenever it has waited.

    Parameters
    ----------
    open_dealer
        Makes an unopened dealer to the directory.
    announce
        What to say of the worker; the load is filled in each time.
    """

    def __init__(self, open_dealer: Callable[[], Dealer], announce: Announce) -> None:
        self._open_dealer = open_dealer
        self._announce = announce
        self._lease_s = announce.lease_ms / 1000
        self._dealer: Dealer | None = None
        self._up = False
        self._heard_s = 0.0
        self._due_s = 0.0
        self._pings = 0
        self._said = ""
        self._left = False

    @property
    def wakeup_s(self) -> float:
        """When `step` has something to do at the latest."""
        silent_s = self._heard_s + self._lease_s
        if self._dealer is None:
            return self._due_s
        return min(self._due_s, silent_s) if self._up else silent_s

    def step(self, load: Load, now_s: float) -> None:
        """Take what the directory said, and connect or announce if that is due."""
        if self._dealer is not None:
            self._take_events(self._dealer, now_s)
        elif now_s >= self._due_s and not self._left:
            self._open(now_s)
            return
        if self._dealer is None or self._left:
            return
        if now_s >= self._heard_s + self._lease_s:
            self._drop(f"silent for {self._lease_s:g} s", now_s)
        elif self._up and now_s >= self._due_s:
            self._due_s = now_s + self._lease_s / RENEWALS
            self._pings = (self._pings + 1) % (1 << 32)
            self._send(replace(self._announce, load=load), now_s)
            self._send(Ping(self._pings, 0), now_s)

    def leave(self, now_s: float) -> None:
        """End the lease, so that no edge is sent here any longer; `step` announces nothing more."""
        self._left = True
        if self._up:
            self._send(replace(self._announce, lease_ms=0), now_s)

    def close(self, linger_s: float = 0.0) -> None:
        """Close the connection; what was said last may still go out for `linger_s`."""
        if self._dealer is not None:
            self._dealer.close(linger_s)
            self._dealer = None
        self._up = False

    def _open(self, now_s: float) -> None:
        dealer = self._open_dealer()
        self._heard_s = now_s
        try:
            dealer.open()
        except TransportError as error:
            self._drop(str(error), now_s)
        else:
            self._dealer = dealer

    def _take_events(self, dealer: Dealer, now_s: float) -> None:
        for event in dealer.events():
            self._heard_s = now_s
            if isinstance(event, Up):
                self._up, self._due_s, self._said = True, now_s, ""
            elif isinstance(event, Down):
                self._drop(event.reason, now_s)
            else:
                self._hear(event, now_s)
            if self._dealer is not dealer:
                return

    def _hear(self, frames: list[bytes], now_s: float) -> None:
        try:
            message = decode(frames)
        except WireError as error:
            self._drop(str(error), now_s)
            return
        if isinstance(message, Error):
            reason = f"{message.code.name.lower()}: {message.detail}"
            self._drop(reason, now_s, message.retry_after_ms / 1000)

    def _send(self, message: Message, now_s: float) -> None:
        if self._dealer is None:
            return
        try:
            self._dealer.send(encode(message))
        except OverloadError as error:
            self._drop(str(error), now_s)

    def _drop(self, reason: str, now_s: float, pause_s: float = RETRY_S) -> None:
        """Close the connection and try again later; say why once, not at every try."""
        self.close()
        self._due_s = now_s + max(pause_s, RETRY_S)
        if reason != self._said:
            log.warning("directory-down reason=%r", reason)
            self._said = reason


@dataclass(frozen=True, slots=True)
class DirectoryAddress:
    """Where the directory is, and what is needed to speak to it."""

    endpoint: str
    keys: ClientKeys | None

    def dealers(self, reactor: Reactor) -> Callable[[], Dealer]:
        """Return what makes unopened dealers to the directory."""
        return partial(
            Dealer,
            reactor,
            self.endpoint,
            max_message_bytes=MAX_HEAD_BYTES,
            queue_bytes=QUEUE_BYTES,
            connect_s=CONNECT_S,
            keys=self.keys,
        )


def directory_address(config: CloudConfig) -> DirectoryAddress | None:
    """Return the directory to announce to, ``None`` if there is none; keys are read here.

    Raises
    ------
    ConfigError
        The address or a key cannot be used, or is missing.
    """
    if config.directory is None:
        return None
    keys = None
    if config.directory_key is not None:
        if config.key is None:
            raise ConfigError("--directory-key needs --key, the secret key of this worker")
        own = read_pair(config.key, "worker")
        keys = ClientKeys(own, read_public(config.directory_key, "directory", "--directory-key"))
    endpoint = check_endpoint(config.directory, "--directory", keyed=keys is not None)
    return DirectoryAddress(endpoint, keys)
