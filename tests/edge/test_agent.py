"""What the driver makes of the bytes that arrive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from splitnet.edge.agent import EdgeAgent
from splitnet.errors import CorruptPayloadError
from splitnet.machines.agent_io import Garbled, Received
from splitnet.runtime.reading import Reading
from splitnet.transport.reactor import Reactor
from splitnet.values import Load
from splitnet.wire import Ping, Reply, checksum, encode

PAYLOAD = b"answer"
PARTIAL = Reply(7, 0, False, 1, 0, 0, 0, 0, Load(), 0, (), 0, checksum(PAYLOAD), PAYLOAD)


class Runtime:
    """Reads replies as 70 % sure, or not at all."""

    readable = True
    read = 0

    def decode_reply(self, payload: bytes, dims: tuple[int, ...]) -> Reading:
        self.read += 1
        if not self.readable:
            raise CorruptPayloadError("not an answer")
        return Reading([3], 0.7)


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


def parsed(runtime: Runtime, frames: list[bytes]) -> Received | Garbled:
    reactor = Reactor()
    try:
        stubs = cast(Any, None)
        agent = EdgeAgent(stubs, cast(Any, runtime), stubs, reactor, stubs, stubs, stubs)
        return agent._parsed(frames)
    finally:
        reactor.close()


def frames(message: Any) -> list[bytes]:
    return [bytes(frame) for frame in encode(message)]


def test_a_partial_reply_comes_with_its_confidence(runtime: Runtime) -> None:
    found = parsed(runtime, frames(PARTIAL))
    assert isinstance(found, Received)
    assert (found.message, found.confidence) == (PARTIAL, 0.7)


def test_one_that_cannot_be_read_comes_without(runtime: Runtime) -> None:
    runtime.readable = False
    found = parsed(runtime, frames(PARTIAL))
    assert isinstance(found, Received) and found.confidence is None


def test_nothing_else_is_read(runtime: Runtime) -> None:
    for message in (replace(PARTIAL, final=True), Ping(1, 2)):
        assert parsed(runtime, frames(message)) == Received(message)
    assert isinstance(parsed(runtime, [b"garbage"]), Garbled)
    assert runtime.read == 0
