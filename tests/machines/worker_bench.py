"""A worker machine fed by hand, and what is read from its actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from splitnet.bundle import Contract
from splitnet.machines.worker import WorkerConfig, WorkerMachine
from splitnet.machines.worker_io import (
    BatchDone,
    BatchItem,
    ItemResult,
    PeerMessage,
    RunBatch,
    SendTo,
    WorkerAction,
    WorkerTick,
)
from splitnet.values import RequestClass
from splitnet.wire import Chunk, Error, Hello, Infer, Message, Reply, Welcome, checksum
from tests.refined_bundle import REFINED_LEVEL

M = TypeVar("M", bound=Message)
PAYLOAD = b"x" * 1000
ALICE, BOB = b"alice", b"bob"
BUDGET_S = 0.1


class Bench:
    """A worker machine with one contract; `say` feeds a message and returns what is sent back."""

    def __init__(self, contract: Contract, config: WorkerConfig) -> None:
        self.contract = contract
        self.machine = WorkerMachine({0: contract}, config, epoch=7)
        self.now_s = 0.0

    def say(self, peer: bytes, message: Message) -> list[WorkerAction]:
        return self.machine.handle(PeerMessage(peer, message), self.now_s)

    def greet(self, peer: bytes) -> Welcome:
        (welcome,) = sent(self.say(peer, self.hello()), Welcome)
        return welcome

    def hello(self) -> Hello:
        hashes = tuple(self.contract.path_hash(path.id) for path in self.contract.paths)
        return Hello((1,), hashes, (), 1 << 20, "test")

    def infer(self, welcome: Welcome, request: int, payload: bytes = PAYLOAD) -> Infer:
        handle = welcome.handles[1]
        assert handle is not None
        return Infer(
            session=welcome.session,
            request=request,
            contract=handle[0],
            path=handle[1],
            level=1,
            stop=3,
            request_class=RequestClass.LIVE,
            budget_us=0,
            stamp=5,
            stream=0,
            state=0,
            refinements=1,
            dims=(),
            flags=0,
            checksum=checksum(payload),
            payload=payload,
        )

    def finish(self, batch: int, items: int) -> list[WorkerAction]:
        results = (ItemResult(b"answer"),) * items
        return self.machine.handle(BatchDone(batch, 0.001, 0.002, results), self.now_s)


class Scene(Bench):
    """A worker that has greeted one agent, and requests of three refinements."""

    def __init__(self, contract: Contract, config: WorkerConfig) -> None:
        super().__init__(contract, config)
        self.welcome: Welcome = self.greet(ALICE)

    def base(self, request: int, payload: bytes = b"base", **changes: object) -> list[WorkerAction]:
        infer = self.infer(self.welcome, request, payload)
        usual = {"level": REFINED_LEVEL, "refinements": 3, "budget_us": round(1e6 * BUDGET_S)}
        return self.say(ALICE, replace(infer, **{**usual, **changes}))  # type: ignore[arg-type]

    def part(
        self,
        request: int,
        refinement: int,
        payload: bytes,
        index: int = 0,
        last: bool = True,
        damaged: bool = False,
    ) -> list[WorkerAction]:
        check = checksum(payload) ^ damaged
        return self.say(ALICE, Chunk(request, refinement, index, last, check, payload))

    def tick(self, now_s: float) -> list[WorkerAction]:
        self.now_s = now_s
        return self.machine.handle(WorkerTick(), now_s)

    def answer(self, batch: RunBatch) -> Reply:
        (reply,) = sent(self.finish(batch.batch, len(batch.items)), Reply)
        return reply


def sent(actions: Sequence[WorkerAction], kind: type[M]) -> list[M]:
    messages = [action.message for action in actions if isinstance(action, SendTo)]
    return [message for message in messages if isinstance(message, kind)]


def batches(actions: Sequence[WorkerAction]) -> list[RunBatch]:
    return [action for action in actions if isinstance(action, RunBatch)]


def refusal(actions: Sequence[WorkerAction]) -> Error:
    (error,) = sent(actions, Error)
    assert not batches(actions)
    return error


def item(actions: list[WorkerAction]) -> BatchItem:
    ((found,),) = [batch.items for batch in batches(actions)]
    return found
