"""Finding a worker: ask the directory, try what it offered in turn, remember what it said."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Protocol

from splitnet.errors import ConfigError, TransportError, WireError
from splitnet.transport.dealer import Dealer, Down, Up
from splitnet.transport.frames import Frames
from splitnet.transport.tcp_info import TcpInfo
from splitnet.wire import Error, Lookup, Offer, WorkerOffer, decode, encode

log = logging.getLogger(__name__)

RECENT_S = 30.0
"""A worker that was tried within this time is tried again after those that were not."""


class Connection(Protocol):
    """A way to a worker: a `Dealer`, or one that is found first."""

    def open(self) -> None:
        """Begin to connect; `events` tells how it went."""

    def close(self, linger_s: float = 0.0) -> None:
        """Close it and forget what was not sent."""

    def send(self, frames: Frames) -> None:
        """Send a message, at once or as soon as possible; never wait."""

    def events(self) -> Iterator[Up | Down | list[bytes]]:
        """Yield what happened."""

    def tcp_info(self) -> TcpInfo | None:
        """Return what the kernel knows of the way to the worker."""


class Finder:
    """What this edge knows of workers; it outlives the connections that use it.

    An offer is asked for when none is left that holds and was not tried. A directory that is down,
    silent or lies therefore costs lookups only: what it said before is tried again, in turn.

    Parameters
    ----------
    paths
        Hashes of the paths wanted.
    open_directory, open_worker
        Make an unopened dealer to the directory, and to a worker that it offered; the latter raises
        `ConfigError` if the offer cannot be used.
    clock
        Returns seconds that only grow.
    """

    def __init__(
        self,
        paths: Sequence[bytes],
        open_directory: Callable[[], Dealer],
        open_worker: Callable[[WorkerOffer], Dealer],
        clock: Callable[[], float],
    ) -> None:
        self.lookup = encode(Lookup(tuple(paths)))
        self.open_directory = open_directory
        self._open_worker = open_worker
        self._clock = clock
        self._offers: tuple[WorkerOffer, ...] = ()
        self._received_s = -inf
        self._tried_s: dict[str, float] = {}
        self._unanswered = False
        self.counters: Counter[str] = Counter()

    def connection(self) -> FoundConnection:
        """Return an unopened connection to the worker that is to be tried next."""
        return FoundConnection(self)

    def fresh(self) -> Dealer | None:
        """Return a dealer to a worker that needs no lookup, ``None`` if it is time for one.

        After a lookup without an answer what is known is tried before the next one.
        """
        if self._unanswered:
            self._unanswered = False
            return self.known()
        now_s = self._clock()
        untried = [
            offer
            for offer in self._offers
            if self._received_s + offer.lease_ms / 1000 > now_s
            and self._tried_s.get(offer.endpoint, -inf) < self._received_s
        ]
        return self._first_usable(untried)

    def known(self) -> Dealer | None:
        """Return a dealer to the known worker that was tried longest ago, however old the offer."""
        now_s = self._clock()

        def tried_s(offer: WorkerOffer) -> float:
            at_s = self._tried_s.get(offer.endpoint, -inf)
            return at_s if now_s - at_s < RECENT_S else -inf

        return self._first_usable(sorted(self._offers, key=tried_s))

    def ask(self) -> None:
        """Note that a lookup begins."""
        self.counters["lookups"] += 1
        self._unanswered = True

    def learn(self, offer: Offer) -> None:
        """Take the answer of a directory; an empty one takes nothing away."""
        self._unanswered = False
        if not offer.workers:
            self.counters["empty_offers"] += 1
            return
        self._offers = offer.workers
        self._received_s = self._clock()
        recent_s = self._received_s - RECENT_S
        self._tried_s = {at: t for at, t in self._tried_s.items() if t >= recent_s}

    def fail(self, reason: str) -> None:
        """Note that a lookup failed."""
        self._unanswered = False
        self.counters["failed_lookups"] += 1
        log.warning("lookup failed reason=%r", reason)

    def _first_usable(self, offers: Sequence[WorkerOffer]) -> Dealer | None:
        for offer in offers:
            self._tried_s[offer.endpoint] = self._clock()
            try:
                dealer = self._open_worker(offer)
                dealer.open()
            except (ConfigError, TransportError) as error:
                self.counters["unusable_offers"] += 1
                log.warning("offer refused endpoint=%r reason=%r", offer.endpoint, str(error))
            else:
                return dealer
        return None


class FoundConnection:
    """A connection to a worker that may have to be looked up first; used like a `Dealer`."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._directory: Dealer | None = None
        self._worker: Dealer | None = None

    def open(self) -> None:
        """Connect to a worker that is known, or ask the directory; `events` tells how it went.

        Raises
        ------
        TransportError
            The address of the directory cannot be used at all.
        """
        self._worker = self._finder.fresh()
        if self._worker is None:
            self._finder.ask()
            directory = self._finder.open_directory()
            directory.open()
            self._directory = directory

    def close(self, linger_s: float = 0.0) -> None:
        """Close what is open; what was sent last may still go out for `linger_s`."""
        self._close_directory()
        if self._worker is not None:
            self._worker.close(linger_s)
            self._worker = None

    def send(self, frames: Frames) -> None:
        """Send a message to the worker, as `Dealer.send`; nothing is sent before it is up."""
        if self._worker is not None:
            self._worker.send(frames)

    def events(self) -> Iterator[Up | Down | list[bytes]]:
        """Yield what happened at the worker; a failed search is a connection that is down."""
        if self._directory is not None:
            problem = self._hear(self._directory)
            if problem is not None:
                yield Down(problem)
                return
        if self._worker is not None:
            yield from self._worker.events()

    def tcp_info(self) -> TcpInfo | None:
        """Return what the kernel knows of the connection to the worker, ``None`` without one."""
        return None if self._worker is None else self._worker.tcp_info()

    def _hear(self, directory: Dealer) -> str | None:
        """Take the directory's events; return why no worker can be tried, if so."""
        for event in directory.events():
            if isinstance(event, Up):
                directory.send(self._finder.lookup)
            elif isinstance(event, Down):
                return self._without_answer(f"directory {event.reason}")
            else:
                return self._answered(event)
        return None

    def _answered(self, frames: list[bytes]) -> str | None:
        try:
            message = decode(frames)
        except WireError as error:
            return self._without_answer(f"the directory's answer is no message: {error}")
        if isinstance(message, Error):
            code = message.code.name.lower()
            return self._without_answer(f"the directory refused: {code}: {message.detail}")
        if not isinstance(message, Offer):
            kind = type(message).__name__.lower()
            return self._without_answer(f"the directory answered with {kind}")
        self._finder.learn(message)
        return self._connect("the directory knows no worker for the paths of this bundle")

    def _without_answer(self, reason: str) -> str | None:
        self._finder.fail(reason)
        return self._connect(reason)

    def _connect(self, reason: str) -> str | None:
        self._close_directory()
        self._worker = self._finder.known()
        return reason if self._worker is None else None

    def _close_directory(self) -> None:
        if self._directory is not None:
            self._directory.close()
            self._directory = None
