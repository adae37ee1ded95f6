"""The driver of the directory machine: a ROUTER socket and a timer, nothing on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from splitnet.cloud.config import DirectorySettings
from splitnet.errors import WireError, one_line
from splitnet.machines.directory import DirectoryConfig, DirectoryEvent, DirectoryMachine
from splitnet.machines.worker_io import PeerGarbled, PeerMessage, SendTo, WorkerTick
from splitnet.transport.endpoints import check_endpoint
from splitnet.transport.gate import open_gate
from splitnet.transport.reactor import Reactor
from splitnet.transport.router import Router
from splitnet.wire import MAX_HEAD_BYTES, decode, encode

log = logging.getLogger(__name__)

QUEUE_BYTES = 1 << 20
"""Bound on what waits for one peer that does not read."""


class CloudDirectory:
    """Answers workers and edges until `stop` is called."""

    def __init__(self, machine: DirectoryMachine, reactor: Reactor, router: Router) -> None:
        self._machine = machine
        self._reactor = reactor
        self._router = router
        self._stopping = False

    def stop(self) -> None:
        """End (from any thread or signal handler); whoever needs a directory asks again."""
        self._stopping = True
        self._reactor.wake()

    def run(self) -> None:
        """Serve; the router is open already, so that its endpoint is known before."""
        while not self._stopping:
            self._wait()
            for peer, frames in self._router.receive():
                try:
                    event: DirectoryEvent = PeerMessage(peer, decode(frames))
                except WireError as error:
                    event = PeerGarbled(peer, error.wire_code, one_line(error))
                self._handle(event)

    def _wait(self) -> None:
        wakeup_s, retry_s = self._machine.wakeup_s, self._router.retry_s
        timeouts = [] if wakeup_s is None else [wakeup_s - time.monotonic()]
        if retry_s is not None:
            timeouts.append(retry_s)
        self._reactor.wait(min(timeouts) if timeouts else None)
        self._router.flush()
        if wakeup_s is not None and time.monotonic() >= wakeup_s:
            self._handle(WorkerTick())

    def _handle(self, event: DirectoryEvent) -> None:
        for action in self._machine.handle(event, time.monotonic()):
            if isinstance(action, SendTo):
                self._router.send(action.peer, encode(action.message))
            else:
                level = logging.WARNING if action.warning else logging.INFO
                log.log(level, "%s %s", action.event, action.detail)


def run_directory(settings: DirectorySettings, ready: Callable[[dict[str, Any]], None]) -> None:
    """Run a directory until SIGTERM or SIGINT.

    Parameters
    ----------
    ready
        Told the endpoint as soon as workers and edges may connect.

    Raises
    ------
    SplitnetError
        The settings or the port cannot be used.
    """
    gate = open_gate(settings.key, settings.allow, "directory")
    endpoint = check_endpoint(settings.bind, "--bind", keyed=gate is not None)
    config = DirectoryConfig(max_workers=settings.max_workers, max_lease_s=settings.max_lease_s)
    reactor = Reactor()
    router = Router(
        reactor,
        endpoint,
        max_message_bytes=MAX_HEAD_BYTES,
        queue_bytes=QUEUE_BYTES,
        gate=gate,
    )
    try:
        router.open()
        try:
            directory = CloudDirectory(DirectoryMachine(config), reactor, router)
            with reactor.stop_signals(directory.stop):
                ready({"endpoint": router.endpoint})
                directory.run()
        finally:
            router.close()
    finally:
        reactor.close()
