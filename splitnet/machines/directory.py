"""The directory machine: leases of workers in, offers of live ones out; soft state, sans-I/O.

A directory stores nothing: after a restart it knows the workers again as soon as each has announced
itself once more, which is at the latest after a third of its lease.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

from splitnet.errors import WireCode
from splitnet.machines.worker_io import PeerGarbled, PeerMessage, SendTo, WorkerReport, WorkerTick
from splitnet.values import Load
from splitnet.wire import (
    Announce,
    Bye,
    Error,
    Lookup,
    Offer,
    Ping,
    Pong,
    WorkerOffer,
)

DirectoryEvent: TypeAlias = PeerMessage | PeerGarbled | WorkerTick
DirectoryAction: TypeAlias = SendTo | WorkerReport


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """Bounds of the directory.

    Attributes
    ----------
    max_workers
        Leases held at once; further workers are refused.
    max_lease_s
        Longer leases are refused: it bounds how long a worker that has vanished is offered.
    max_offers
        Workers named in one answer at most (docs/wire.md allows 64).
    retry_after_ms
        What a refused worker is told to wait.
    """

    max_workers: int = 4096
    max_lease_s: float = 60.0
    max_offers: int = 16
    retry_after_ms: int = 1000


@dataclass(slots=True)
class _Lease:
    """What one worker last said, until when it holds, and when it was last named first."""

    announce: Announce
    paths: frozenset[bytes]
    expires_s: float
    named: int = 0


class DirectoryMachine:
    """Remembers which workers live and tells edges which of them serve their paths."""

    def __init__(self, config: DirectoryConfig) -> None:
        self._config = config
        self._leases: dict[int, _Lease] = {}
        self._of_endpoint: dict[str, int] = {}
        self._namings = 0
        self._out: list[DirectoryAction] = []
        self.counters: Counter[str] = Counter()

    @property
    def wakeup_s(self) -> float | None:
        """When the next lease ends, ``None`` if there is none."""
        return min((lease.expires_s for lease in self._leases.values()), default=None)

    @property
    def workers(self) -> int:
        """Number of leases held."""
        return len(self._leases)

    def handle(self, event: DirectoryEvent, now_s: float) -> list[DirectoryAction]:
        """Take one event at `now_s` and return what to do, in order."""
        self._out = []
        self._expire(now_s)
        if isinstance(event, PeerGarbled):
            self.counters["garbled"] += 1
            self._refuse(event.peer, event.code, event.reason)
        elif isinstance(event, PeerMessage):
            self._on_message(event, now_s)
        return self._out

    def _on_message(self, event: PeerMessage, now_s: float) -> None:
        peer, message = event.peer, event.message
        if isinstance(message, Lookup):
            self._on_lookup(peer, message, now_s)
        elif isinstance(message, Announce):
            self._on_announce(peer, message, now_s)
        elif isinstance(message, Ping):
            self._out.append(SendTo(peer, Pong(message.number, message.stamp, Load())))
        elif not isinstance(message, Bye):
            kind = type(message).__name__.lower()
            self.counters["unsupported"] += 1
            self._refuse(peer, WireCode.UNSUPPORTED, f"a directory does not answer {kind}")

    # --- workers --------------------------------------------------------------------------------

    def _on_announce(self, peer: bytes, announce: Announce, now_s: float) -> None:
        known = self._leases.get(announce.worker)
        if known is not None and not _same_worker(known.announce, announce):
            self.counters["contested"] += 1
            detail = f"worker {announce.worker} is announced by {known.announce.endpoint} already"
            self._refuse(peer, WireCode.INCOMPATIBLE, detail)
        elif announce.lease_ms == 0:
            self._end(announce.worker, "worker-left")
        elif announce.lease_ms > 1000 * self._config.max_lease_s:
            self.counters["long_leases"] += 1
            detail = (
                f"a lease of {announce.lease_ms / 1000:g} s, at most "
                f"{self._config.max_lease_s:g} are allowed here: lower --lease-s"
            )
            self._refuse(peer, WireCode.TOO_LARGE, detail)
        elif not announce.paths or not announce.endpoint:
            self.counters["empty"] += 1
            detail = "an announcement needs an endpoint and at least one path"
            self._refuse(peer, WireCode.MALFORMED, detail)
        else:
            self._renew(peer, announce, now_s)

    def _renew(self, peer: bytes, announce: Announce, now_s: float) -> None:
        """Begin or prolong a lease; an older run of a worker at the same endpoint is over."""
        before = self._of_endpoint.get(announce.endpoint, announce.worker)
        if before != announce.worker:
            self._end(before, "worker-replaced")
        if announce.worker not in self._leases and self.workers >= self._config.max_workers:
            self.counters["overfull"] += 1
            detail = f"this directory holds {self.workers} workers, its limit"
            self._refuse(peer, WireCode.OVERLOAD, detail, self._config.retry_after_ms)
            return
        self.counters["announces"] += 1
        known = self._leases.get(announce.worker)
        named = 0 if known is None else known.named
        expires_s = now_s + announce.lease_ms / 1000
        lease = _Lease(announce, frozenset(announce.paths), expires_s, named)
        self._leases[announce.worker] = lease
        self._of_endpoint[announce.endpoint] = announce.worker
        if known is None:
            self._report("worker-found", lease)

    def _end(self, worker: int, event: str) -> None:
        lease = self._leases.pop(worker, None)
        if lease is not None:
            del self._of_endpoint[lease.announce.endpoint]
            self.counters[event] += 1
            self._report(event, lease)

    def _expire(self, now_s: float) -> None:
        ended = [worker for worker, lease in self._leases.items() if lease.expires_s <= now_s]
        for worker in ended:
            self._end(worker, "worker-silent")

    # --- edges ----------------------------------------------------------------------------------

    def _on_lookup(self, peer: bytes, lookup: Lookup, now_s: float) -> None:
        wanted = frozenset(lookup.paths)
        found = [lease for lease in self._leases.values() if lease.paths & wanted]
        found.sort(key=lambda lease: _rank(lease, wanted))
        self.counters["lookups"] += 1
        if found:
            self._namings += 1
            found[0].named = self._namings
        else:
            self.counters["unanswerable"] += 1
        offers = tuple(_offer(lease, now_s) for lease in found[: self._config.max_offers])
        self._out.append(SendTo(peer, Offer(offers)))

    # --- sending --------------------------------------------------------------------------------

    def _refuse(self, peer: bytes, code: WireCode, detail: str, retry_after_ms: int = 0) -> None:
        self._out.append(SendTo(peer, Error(0, code, retry_after_ms, detail)))
        report = f"code={code.name.lower()} detail={detail!r}"
        self._out.append(WorkerReport("refused", report, warning=True))

    def _report(self, event: str, lease: _Lease) -> None:
        announce = lease.announce
        detail = f"worker={announce.worker} endpoint={announce.endpoint} workers={self.workers}"
        self._out.append(WorkerReport(event, detail, warning=event == "worker-silent"))


def _same_worker(known: Announce, announce: Announce) -> bool:
    return (known.endpoint, known.key) == (announce.endpoint, announce.key)


def _rank(lease: _Lease, wanted: frozenset[bytes]) -> tuple[int, int, int, int]:
    """Order: serves most of the paths, least loaded, longest not named first."""
    load = lease.announce.load
    return -len(lease.paths & wanted), load.wait_us, load.queued, lease.named


def _offer(lease: _Lease, now_s: float) -> WorkerOffer:
    announce = lease.announce
    return WorkerOffer(
        worker=announce.worker,
        endpoint=announce.endpoint,
        key=announce.key,
        ticket=b"",
        lease_ms=max(1, round(1000 * (lease.expires_s - now_s))),
        load=announce.load,
    )
