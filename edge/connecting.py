"""How an edge comes to its worker: straight to ``--connect``, or through ``--directory``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from splitnet.edge.config import EdgeConfig
from splitnet.edge.finding import Connection, Finder
from splitnet.errors import ConfigError
from splitnet.machines.link import LinkConfig
from splitnet.transport.dealer import Dealer
from splitnet.transport.endpoints import check_endpoint
from splitnet.transport.keys import (
    ClientKeys,
    KeyPair,
    PublicKey,
    client_keys,
    read_pair,
    read_public,
)
from splitnet.transport.reactor import Reactor
from splitnet.wire import MAX_HEAD_BYTES, WorkerOffer


class Connector:
    """Makes connections; addresses and keys are checked, and the latter read, when it is made.

    Raises
    ------
    ConfigError
        An address or a key cannot be used, or contradicts another.
    """

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._finder: Finder | None = None
        if config.directory is None:
            option, endpoint = "--connect", config.connect
            self._keys = client_keys(config.key, config.server_key, "device", "worker")
        else:
            option, endpoint = "--directory", config.directory
            self._keys = _directory_keys(config)
        assert endpoint is not None
        self._endpoint = check_endpoint(endpoint, option, keyed=self._keys is not None)

    @property
    def counters(self) -> Mapping[str, int]:
        """What the search for workers counted; nothing without a directory."""
        return {} if self._finder is None else self._finder.counters

    def start(self, reactor: Reactor, paths: Sequence[bytes]) -> Callable[[], Connection]:
        """Return what makes unopened connections in `reactor` to a worker of `paths`."""
        to_endpoint = self._dealers(reactor, self._endpoint, self._keys)
        if self._config.directory is None:
            return to_endpoint
        own = None if self._keys is None else self._keys.own

        def open_worker(offer: WorkerOffer) -> Dealer:
            keys = _worker_keys(offer, own)
            where = "the offer of the directory"
            endpoint = check_endpoint(offer.endpoint, where, keyed=keys is not None)
            return self._dealers(reactor, endpoint, keys)()

        self._finder = Finder(paths, to_endpoint, open_worker, time.monotonic)
        return self._finder.connection

    def _dealers(
        self, reactor: Reactor, endpoint: str, keys: ClientKeys | None
    ) -> Callable[[], Dealer]:
        config = self._config

        def make() -> Dealer:
            return Dealer(
                reactor,
                endpoint,
                max_message_bytes=config.max_reply_bytes + MAX_HEAD_BYTES,
                queue_bytes=config.send_queue_bytes,
                connect_s=LinkConfig().handshake_s,
                keys=keys,
            )

        return make


def _directory_keys(config: EdgeConfig) -> ClientKeys | None:
    if config.server_key is not None:
        raise ConfigError(
            "--server-key belongs to --connect; with --directory the workers' keys come from the "
            "directory, whose own is --directory-key"
        )
    if config.directory_key is None:
        if config.key is not None:
            raise ConfigError("--key needs --directory-key, the public key of the directory")
        return None
    if config.key is None:
        raise ConfigError("--directory-key needs --key, the secret key of this device")
    own = read_pair(config.key, "device")
    return ClientKeys(own, read_public(config.directory_key, "directory", "--directory-key"))


def _worker_keys(offer: WorkerOffer, own: KeyPair | None) -> ClientKeys | None:
    """Return the keys for a worker: the one that the directory told is the one it must have."""
    if own is None:
        if offer.key:
            raise ConfigError("the worker wants keys, none are given here")
        return None
    if not offer.key:
        raise ConfigError("the worker has no key, one is wanted here")
    return ClientKeys(own, PublicKey.from_raw(offer.key))
