"""From the settings to a serving worker: everything is opened and warm before it says so."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from splitnet.bundle import Bundle
from splitnet.cloud.announcing import Announcer, directory_address
from splitnet.cloud.binding import advertised_endpoint, check_bind, open_router
from splitnet.cloud.config import CloudConfig
from splitnet.cloud.worker import LAST_WORDS_S, CloudWorker
from splitnet.machines.worker import WorkerConfig, WorkerMachine
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.worker import WorkerRuntime
from splitnet.transport.gate import open_gate
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router
from splitnet.values import Load
from splitnet.wire import MAX_HEAD_BYTES, Announce

HANDLE = 1
"""Handle of the only contract that a worker serves for now."""

EPOCH_BITS = 64
"""Epochs are drawn, so that replicas that start together differ in theirs, too."""


@dataclass(frozen=True, slots=True)
class OpenedWorker:
    """A worker that is bound and warm, and what there is to say of it.

    Attributes
    ----------
    line
        The ready line: endpoint for devices, name of the bundle, ids of its paths.
    """

    worker: CloudWorker
    reactor: Reactor
    line: dict[str, Any]


def serve(config: CloudConfig, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve the paths of a bundle until SIGTERM or SIGINT, then drain.

    Parameters
    ----------
    ready
        Told the endpoint and what is served, as soon as devices may connect.

    Raises
    ------
    SplitnetError
        The settings, the bundle or the port cannot be used.
    """
    with opened_worker(config) as opened, opened.reactor.stop_signals(opened.worker.stop):
        ready(opened.line)
        opened.worker.run()


@contextmanager
def opened_worker(config: CloudConfig) -> Iterator[OpenedWorker]:
    """Open a worker for the thread that will run it; close what it holds when the block ends.

    Raises
    ------
    SplitnetError
        The settings, the bundle or the port cannot be used.
    """
    gate = open_gate(config.key, config.allow, "worker")
    check_bind(config.bind, keyed=gate is not None)
    directory = directory_address(config)
    bundle = open_bundle(config.bundle)
    runtime = WorkerRuntime(config.bundle, bundle, config.threads)
    reactor = Reactor()

    def make_router(endpoint: str) -> Router:
        return Router(
            reactor,
            endpoint,
            max_message_bytes=max(config.max_chunk_bytes, MAX_HEAD_BYTES),
            queue_bytes=config.send_queue_bytes,
            gate=gate,
        )

    epoch = secrets.randbits(EPOCH_BITS)
    machine = WorkerMachine({HANDLE: bundle.contract}, _worker_config(config), epoch)
    try:
        router = open_router(config.bind, make_router, keyed=gate is not None)
        try:
            endpoint = router.endpoint
            if directory is not None or config.advertise is not None:
                endpoint = advertised_endpoint(endpoint, config.advertise)
            announcer = None
            if directory is not None:
                public = b"" if gate is None else gate.public.raw
                announce = _announce(bundle, endpoint, public, epoch, config.lease_s)
                announcer = Announcer(directory.dealers(reactor), announce)
            runtime.warm_up(sorted({1, config.max_batch}))
            worker = CloudWorker(machine, {HANDLE: runtime}, reactor, router, announcer)
            yield OpenedWorker(worker, reactor, _ready_line(endpoint, bundle))
        finally:
            router.close(LAST_WORDS_S)
    finally:
        reactor.close()


def _announce(bundle: Bundle, endpoint: str, public: bytes, epoch: int, lease_s: float) -> Announce:
    contract = bundle.contract
    return Announce(
        worker=epoch,
        endpoint=endpoint,
        key=public,
        lease_ms=round(1000 * lease_s),
        load=Load(),
        paths=tuple(contract.path_hash(path.id) for path in contract.paths),
    )


def _worker_config(config: CloudConfig) -> WorkerConfig:
    return WorkerConfig(
        max_batch=config.max_batch,
        max_request_bytes=config.max_request_bytes,
        max_chunk_bytes=config.max_chunk_bytes,
        max_sessions=config.max_sessions,
        window_bytes=max(WorkerConfig().window_bytes, 2 * config.max_request_bytes),
    )


def _ready_line(endpoint: str, bundle: Bundle) -> dict[str, Any]:
    paths = [path.id for path in bundle.contract.paths]
    return {"endpoint": endpoint, "bundle": bundle.contract.name, "paths": paths}
