"""From the settings to a serving worker: everything is opened and warm before it says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from splitnet.bundle import Bundle
from splitnet.cloud.config import CloudConfig
from splitnet.cloud.worker import LAST_WORDS_S, CloudWorker
from splitnet.machines.worker import WorkerConfig, WorkerMachine
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.worker import WorkerRuntime
from splitnet.transport.endpoints import check_endpoint
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router
from splitnet.wire import MAX_HEAD_BYTES

HANDLE = 1
"""Handle of the only contract that a worker serves for now."""

EPOCH_MODULUS = 1 << 32
"""Epochs are milliseconds modulo 2**32: two starts of a worker differ in theirs."""


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
    endpoint = check_endpoint(config.bind, "--bind")
    bundle = open_bundle(config.bundle)
    runtime = WorkerRuntime(config.bundle, bundle, config.threads)
    reactor = Reactor()
    router = Router(
        reactor,
        endpoint,
        max_message_bytes=max(config.max_chunk_bytes, MAX_HEAD_BYTES),
        queue_bytes=config.send_queue_bytes,
    )
    machine = WorkerMachine({HANDLE: bundle.contract}, _worker_config(config), _new_epoch())
    try:
        router.open()
        try:
            runtime.warm_up(sorted({1, config.max_batch}))
            worker = CloudWorker(machine, {HANDLE: runtime}, reactor, router)
            with reactor.stop_signals(worker.stop):
                ready(_ready_line(router.endpoint, bundle))
                worker.run()
        finally:
            router.close(LAST_WORDS_S)
    finally:
        reactor.close()


def _worker_config(config: CloudConfig) -> WorkerConfig:
    return WorkerConfig(
        max_batch=config.max_batch,
        max_request_bytes=config.max_request_bytes,
        max_chunk_bytes=config.max_chunk_bytes,
        max_sessions=config.max_sessions,
    )


def _new_epoch() -> int:
    return int(1000 * time.time()) % EPOCH_MODULUS


def _ready_line(endpoint: str, bundle: Bundle) -> dict[str, Any]:
    paths = [path.id for path in bundle.contract.paths]
    return {"endpoint": endpoint, "bundle": bundle.contract.name, "paths": paths}
