"""The driver of the worker machine in virtual time."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random

from splitnet.bundle import Bundle
from splitnet.machines.worker import WorkerMachine
from splitnet.machines.worker_io import (
    BatchDone,
    ItemResult,
    PeerGone,
    PeerMessage,
    RunBatch,
    SendTo,
    WorkerEvent,
    WorkerTick,
)
from splitnet.sim.connection import Connection
from splitnet.sim.kernel import Alarm, Kernel
from splitnet.sim.scenario import WorkerSettings
from splitnet.sim.stage_clock import StageClock, simulated_profile
from splitnet.values import decode_stage, segment_stage
from splitnet.wire import Hollow, Message

HANDLE = 1
"""Handle of the only contract."""


class SimulatedWorker:
    """One worker process: it serves, dies and comes back with the next epoch."""

    def __init__(
        self, kernel: Kernel, bundle: Bundle, settings: WorkerSettings, random: Random
    ) -> None:
        self._kernel = kernel
        self._contract = bundle.contract
        self._settings = settings
        profile = simulated_profile(bundle.advice.profiles, settings)
        self._clock = StageClock(profile, settings.spread, random)
        sizes = bundle.advice.sizes
        reply_bytes = sum(spec.sample_bytes(sizes) for spec in bundle.contract.answers)
        self._result = ItemResult(Hollow(reply_bytes))
        self._connections: dict[bytes, Connection] = {}
        self._machine: WorkerMachine | None = None
        self._alarm = Alarm(kernel, self._tick)
        self._epoch = 0
        self._past: Counter[str] = Counter()

    @property
    def counters(self) -> Counter[str]:
        """What the machine counted in all lives of the process."""
        return self._past + (self._machine.counters if self._machine else Counter())

    def start(self) -> None:
        """Serve, as a process that was just started."""
        self._epoch += 1
        self._machine = WorkerMachine({HANDLE: self._contract}, self._settings.bounds, self._epoch)

    def stop(self) -> None:
        """Die at once: what is queued or under way is lost, and every connection is reset."""
        assert self._machine is not None
        self._past.update(self._machine.counters)
        self._machine = None
        self._alarm.set(None)
        for connection in self._connections.values():
            if connection.open_at_worker:
                connection.reset()
        self._connections.clear()

    def accept(self, connection: Connection) -> bool:
        """Take a new connection if the process runs."""
        if self._machine is None:
            return False
        self._connections[connection.peer] = connection
        return True

    def receive(self, connection: Connection, message: Message) -> None:
        """Hand a message of an open connection to the machine."""
        self._tell(PeerMessage(connection.peer, message))

    def _tick(self) -> None:
        self._tell(WorkerTick())

    def _batch_done(self, epoch: int, done: BatchDone) -> None:
        if epoch == self._epoch and self._machine is not None:
            self._tell(done)

    def _tell(self, event: WorkerEvent) -> None:
        machine = self._machine
        assert machine is not None
        for action in machine.handle(event, self._kernel.now_s):
            if isinstance(action, SendTo):
                self._send(action)
            elif isinstance(action, RunBatch):
                self._run(action)
        self._alarm.set(machine.wakeup_s)

    def _send(self, action: SendTo) -> None:
        connection = self._connections.get(action.peer)
        if connection is not None and connection.open_at_worker:
            connection.send_down(action.message)
            return
        self._connections.pop(action.peer, None)
        self._kernel.at(self._kernel.now_s, self._gone, self._epoch, action.peer)

    def _gone(self, epoch: int, peer: bytes) -> None:
        if epoch == self._epoch and self._machine is not None:
            self._tell(PeerGone(peer))

    def _run(self, batch: RunBatch) -> None:
        """Decode one by one; each item beyond the first takes its share of a run for one."""
        items = len(batch.items)
        draw_s = self._clock.draw_s
        decode_s = sum([draw_s(_decode_keys(item.path, item.level)) for item in batch.items])
        alone_s = draw_s(_segment_keys(batch.entry, batch.stop))
        run_s = alone_s * (1 + self._settings.batch_share * (items - 1))
        done = BatchDone(batch.batch, decode_s, run_s, (self._result,) * items)
        self._kernel.at(self._kernel.now_s + decode_s + run_s, self._batch_done, self._epoch, done)


@cache
def _decode_keys(path: str, level: int) -> tuple[str, ...]:
    return (decode_stage(path, level),)


@cache
def _segment_keys(entry: int, stop: int) -> tuple[str, ...]:
    return tuple(map(segment_stage, range(entry, stop)))
