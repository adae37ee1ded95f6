"""Workers that lie, babble or fall silent, and links that are cut: every frame is answered once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import zmq

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.processes import cloud_process
from splitnet.values import Load
from splitnet.wire import (
    PROTOCOL_VERSION,
    Chunk,
    Error,
    Hello,
    Infer,
    InferFlag,
    Message,
    Ping,
    Pong,
    ProgressAck,
    Reply,
    Welcome,
    checksum,
    decode,
    encode,
    size,
)
from tests.end_to_end.conftest import LIVE, SAMPLES, Run, frames_of

Frames: TypeAlias = "list[bytes | bytearray | memoryview]"
Answer: TypeAlias = Callable[[Message], list[Frames]]

FIXED = ("--policy", "fixed:plan=c1@0")


@contextmanager
def fake_worker(answer: Answer) -> Iterator[str]:
    """Serve on loopback with a function from each message to the messages that answer it."""
    stop = threading.Event()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 0
        port = router.bind_to_random_port("tcp://127.0.0.1")

        def serve() -> None:
            while not stop.is_set():
                if router.poll(20):
                    peer, *frames = router.recv_multipart()
                    for reply in answer(decode(frames)):
                        router.send_multipart([peer, *reply])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            stop.set()
            thread.join()


def welcome(message: Hello) -> list[Frames]:
    handles = tuple((1, number) for number in range(len(message.paths)))
    return [
        encode(
            Welcome(
                session=1,
                epoch=1,
                handles=handles,
                missing_tables=(),
                max_request_bytes=1 << 20,
                max_chunk_bytes=1 << 18,
                credit_requests=1000,
                credit_bytes=1 << 30,
                heartbeat_ms=1000,
            )
        )
    ]


def reply(request: int, payload: bytes, *, damaged: bool = False) -> Frames:
    return encode(
        Reply(
            request=request,
            number=0,
            final=True,
            refinements=1,
            state=0,
            queue_us=0,
            decode_us=0,
            run_us=0,
            load=Load(),
            stamp=0,
            dims=(),
            codec=0,
            checksum=checksum(payload) ^ damaged,
            payload=payload,
        )
    )


def polite(on_request: Callable[[int], list[Frames]]) -> Answer:
    """A worker that follows docs/wire.md, and does `on_request` for complete requests."""
    received_bytes = 0

    def answer(message: Message) -> list[Frames]:
        nonlocal received_bytes
        received_bytes += size(message)
        return [*respond(message), encode(ProgressAck(received_bytes))]

    def respond(message: Message) -> list[Frames]:
        if isinstance(message, Hello):
            return welcome(message)
        if isinstance(message, Ping):
            return [encode(Pong(message.number, message.stamp, Load()))]
        whole = isinstance(message, Infer) and not message.flags & InferFlag.MORE_CHUNKS
        if whole or (isinstance(message, Chunk) and message.last):
            assert isinstance(message, Infer | Chunk)
            return on_request(message.request)
        return []

    return answer


def newer_version(message: Message) -> list[Frames]:
    """Answer in a protocol whose prefix says one version more."""
    head = bytearray(welcome(message)[0][0]) if isinstance(message, Hello) else bytearray(b"?")
    for at, byte in enumerate(head[:8]):
        if byte == PROTOCOL_VERSION and at >= 4:
            head[at] += 1
            break
    return [[head]]


def refuses_version(message: Message) -> list[Frames]:
    del message
    return [encode(Error(0, WireCode.VERSION, 0, "this worker speaks version 2, the agent 1"))]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (newer_version, "version"),
        (refuses_version, "this worker speaks version 2, the agent 1"),
        (lambda message: [[b"babble"]], "not a message"),
        (lambda message: [[b"a", b"b", b"c", b"d", b"e"]], "not a message"),
    ],
)
def test_a_worker_that_cannot_be_understood_is_reported_and_not_needed(
    edge: Run, answer: Answer, message: str
) -> None:
    with fake_worker(answer) as endpoint:
        done = edge(endpoint, *LIVE, *FIXED)
    assert done.code == 0
    assert message in done.stderr
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in done.summary["answered_by"]
    assert done.summary["late"] == 0


def test_a_worker_that_takes_requests_and_never_answers(edge: Run) -> None:
    with fake_worker(polite(lambda request: [])) as endpoint:
        done = edge(endpoint, *LIVE, *FIXED)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in done.summary["answered_by"]
    assert done.summary["late"] == 0


def test_replies_to_nobody_and_twice_are_counted_and_dropped(edge: Run) -> None:
    payload = np.arange(10, dtype=np.float32).tobytes()
    answers = polite(lambda r: [reply(r, payload), reply(r, payload), reply(r + 10_000, payload)])
    with fake_worker(answers) as endpoint:
        done = edge(endpoint, *FIXED)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert {tuple(answer["labels"]) for answer in done.answers} == {(9,)}
    assert done.summary["counters"]["late_replies"] >= 2 * (SAMPLES - 1)


def test_a_damaged_reply_is_answered_locally(edge: Run) -> None:
    payload = np.arange(10, dtype=np.float32).tobytes()
    with fake_worker(polite(lambda r: [reply(r, payload, damaged=True)])) as endpoint:
        done = edge(endpoint, *LIVE, *FIXED)
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in done.summary["answered_by"]
    assert done.summary["counters"]["damaged_replies"] > 0


@pytest.mark.parametrize(
    "payload", [b"short", np.full(10, np.nan, np.float32).tobytes()], ids=["short", "nan"]
)
def test_a_reply_that_is_no_answer_fails_its_frame_and_says_so(edge: Run, payload: bytes) -> None:
    with fake_worker(polite(lambda r: [reply(r, payload)])) as endpoint:
        done = edge(endpoint, *FIXED, "--limit", "3")
    assert done.code == 1
    assert frames_of(done.answers) == [0, 1, 2]
    assert done.summary["failed"] == 3


class Proxy:
    """Passes bytes on between an edge and a worker and cuts the first connections short."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._port = port
        self._cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        self._threads[0].start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        end(self._listener)
        self._threads[0].join()
        for opened in self._sockets:
            end(opened)
        for thread in self._threads[1:]:
            thread.join()
        for opened in (self._listener, *self._sockets):
            opened.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [near, far]
            cut = self._cuts.pop(0) if self._cuts else None
            for source, target, limit in ((near, far, cut), (far, near, None)):
                thread = threading.Thread(target=self._pass, args=(source, target, limit))
                thread.start()
                self._threads.append(thread)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, limit: int | None) -> None:
        left = limit
        with suppress(OSError):
            while (left is None or left > 0) and (data := source.recv(4096)):
                target.sendall(data[:left])
                left = None if left is None else left - len(data)
        end(source)
        end(target)


def end(opened: socket.socket) -> None:
    """Wake whoever waits for this socket, which may have ended before."""
    with suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("options", [(), LIVE], ids=["deferred", "live"])
def test_connections_cut_in_the_middle_of_a_message_lose_and_double_nothing(
    edge: Run, sample_directory: Path, sample_bundle: Bundle, options: tuple[str, ...]
) -> None:
    """Cut in the greeting, in the hello, in the middle of a payload and between two chunks."""
    payload = sample_bundle.contract.path("c1").hops[0].tensors[0].sample_bytes()
    cuts = [5, 70, 400, 500 + payload // 2, 300 + 3 * payload]
    with cloud_process(sample_directory) as cloud:
        with Proxy(int(cloud.endpoint.rpartition(":")[2]), cuts) as proxy:
            done = edge(proxy.endpoint, *FIXED, "--repeat", "4", *options)
    assert cuts == []
    assert done.code == 0
    assert frames_of(done.answers) == list(range(4 * SAMPLES))
    if not options:
        assert done.summary["answered_by"] == {"cloud": 4 * SAMPLES}
        assert done.summary["accuracy"] == 1.0
    else:
        assert done.summary["late"] == 0


@pytest.mark.parametrize("answered", [True, False], ids=["replies", "no replies"])
def test_a_worker_that_never_acknowledges(edge: Run, answered: bool) -> None:
    """Replies acknowledge, too; without them the pacing window stays shut."""
    payload = np.arange(10, dtype=np.float32).tobytes()
    answer = polite(lambda r: [reply(r, payload)] if answered else [])

    def silent_about_bytes(message: Message) -> list[Frames]:
        return [frames for frames in answer(message) if not isinstance(decode(frames), ProgressAck)]

    with fake_worker(silent_about_bytes) as endpoint:
        done = edge(endpoint, *LIVE, *FIXED)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert ("cloud" in done.summary["answered_by"]) is answered
    assert done.summary["late"] == 0
