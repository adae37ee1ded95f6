"""Links that stop within a payload, half-open connections, ends that grant or read nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from splitnet.bundle import Bundle
from splitnet.processes import cloud_process, shaper_process
from splitnet.wire import Hello, Message, Ping, Welcome, decode, encode
from tests.end_to_end.conftest import SAMPLES, Run, frames_of
from tests.end_to_end.test_bad_worker import Answer, Frames, Proxy, end, fake_worker, polite, reply

LARGE = ("--policy", "fixed:plan=c1@0")
"""8,192 bytes a request."""

SLOW = ("--rate", "400kbit", "--delay", "5ms")
"""A large request takes 164 ms: one after the other, any moment is within a payload."""

PATIENT = ("--rate", "10", "--deadline-ms", "300", "--queue", "60", "--max-inflight", "60")
LIVE = ("--rate", "30", *PATIENT[2:])

OUTAGES = pytest.mark.parametrize(
    "outage_s", [0.5, 5.0], ids=["short", "longer than silence may last"]
)


@contextmanager
def link_with_outage(bundle: Path, folder: Path, outage_s: float) -> Iterator[str]:
    """Run a worker behind a slow link that is dead for a while, 1.5 s after it opened."""
    schedule = folder / "outage.csv"
    schedule.write_text(f"1.5,dead\n{1.5 + outage_s},alive\n")
    with cloud_process(bundle) as cloud:
        with shaper_process(cloud.endpoint, *SLOW, "--schedule", str(schedule)) as shaper:
            yield shaper.endpoint


@OUTAGES
def test_an_outage_within_a_payload_costs_deferred_requests_time_only(
    edge: Run, sample_directory: Path, tmp_path: Path, outage_s: float
) -> None:
    with link_with_outage(sample_directory, tmp_path, outage_s) as endpoint:
        done = edge(endpoint, *LARGE, "--limit", "20")
    assert done.code == 0
    assert frames_of(done.answers) == list(range(20))
    assert done.summary["answered_by"] == {"cloud": 20}
    assert done.summary["accuracy"] == 1.0
    assert done.summary["reconnects"] == (outage_s > 3)


@OUTAGES
def test_an_outage_within_a_payload_makes_no_live_answer_late(
    edge: Run, sample_directory: Path, tmp_path: Path, outage_s: float
) -> None:
    with link_with_outage(sample_directory, tmp_path, outage_s) as endpoint:
        done = edge(endpoint, *LARGE, *PATIENT, "--limit", "40")
    assert done.code == 0
    assert frames_of(done.answers) == list(range(40))
    assert done.summary["late"] == 0
    assert set(done.summary["answered_by"]) - {"cloud"}


# --- half-open connections ----------------------------------------------------------------------


@contextmanager
def mute_listener() -> Iterator[str]:
    """Accept connections, and never say or read anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            end(listener)
            thread.join()
            for opened in accepted:
                opened.close()


class Stalling(Proxy):
    """A proxy whose first connections stay open after so many bytes, but carry no more of them."""

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, limit: int | None) -> None:
        left = limit
        with suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data[:left])
                left = None if left is None else max(0, left - len(data))
        end(source)
        end(target)


@pytest.mark.parametrize("option", ["--connect", "--directory"])
def test_a_connection_that_is_accepted_and_never_answered_is_not_needed(
    splitnet: Run, sample_directory: Path, samples: Path, option: str
) -> None:
    usual = ("--bundle", sample_directory, "--source", samples, *LARGE, *PATIENT)
    with mute_listener() as endpoint:
        done = splitnet("edge", "run", *usual, "--limit", "35", option, endpoint)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(35))
    assert "cloud" not in done.summary["answered_by"]
    assert done.summary["late"] == 0
    assert "link-down" in done.stderr


@pytest.mark.parametrize("options", [(), PATIENT], ids=["deferred", "live"])
def test_a_connection_that_falls_silent_is_given_up_and_made_again(
    edge: Run, sample_directory: Path, options: tuple[str, ...]
) -> None:
    """The first one carries three requests and a half, then nothing, and is never closed."""
    with cloud_process(sample_directory) as cloud:
        with Stalling(int(cloud.endpoint.rpartition(":")[2]), [30_000]) as proxy:
            done = edge(proxy.endpoint, *LARGE, *options)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "silent for" in done.stderr
    assert done.summary["reconnects"] == 1
    if options:
        assert done.summary["late"] == 0
    else:
        assert done.summary["answered_by"] == {"cloud": SAMPLES}


# --- ends that do not play ----------------------------------------------------------------------


def granting(requests: int) -> Answer:
    """A worker that grants this many requests and never any more."""
    answers = polite(lambda request: [reply(request, bytes(40))])

    def answer(message: Message) -> list[Frames]:
        frames = answers(message)
        if isinstance(message, Hello):
            welcome = decode(frames[0])
            assert isinstance(welcome, Welcome)
            frames[0] = encode(replace(welcome, credit_requests=requests))
        return frames

    return answer


@pytest.mark.parametrize("granted", [0, 5])
def test_a_worker_that_grants_no_more_credit_is_counted_and_not_needed(
    edge: Run, granted: int
) -> None:
    with fake_worker(granting(granted)) as endpoint:
        live = edge(endpoint, *LARGE, *LIVE)
        deferred = edge(endpoint, *LARGE, "--expiry-s", "1", "--limit", "12")
    for done, count in ((live, SAMPLES), (deferred, 12)):
        assert done.code == 0
        assert frames_of(done.answers) == list(range(count))
        assert done.summary["answered_by"].get("cloud", 0) <= granted
        assert done.summary["counters"]["waits_for_credit"] > 0
    assert live.summary["late"] == 0
    assert deferred.summary["answered_by"].get("cloud", 0) == granted


def test_a_device_that_never_reads_costs_nobody_else_anything(
    edge: Run, sample_directory: Path, sample_bundle: Bundle
) -> None:
    """It greets the worker, asks without end, and lets the answers pile up."""
    contract = sample_bundle.contract
    hello = Hello(
        (1,), tuple(contract.path_hash(p.id) for p in contract.paths), (), 1 << 20, "deaf"
    )
    with cloud_process(sample_directory) as cloud, zmq.Context() as context:
        with context.socket(zmq.DEALER) as deaf:
            deaf.linger, deaf.rcvhwm, deaf.rcvbuf = 0, 1, 4096
            deaf.connect(cloud.endpoint)
            deaf.send_multipart(encode(hello))
            for number in range(20_000):
                with suppress(zmq.Again):
                    deaf.send_multipart(encode(Ping(number, 0)), zmq.NOBLOCK)
            done = edge(cloud.endpoint, *LARGE)
        assert cloud.process.poll() is None
    assert done.code == 0
    assert done.summary["answered_by"] == {"cloud": SAMPLES}
    assert done.summary["accuracy"] == 1.0


# --- odd traces ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "remark"),
    [
        ("0,8\n1,8\n", "ends after 2.0 s, then the link carries nothing"),
        ("0,8\n1,8\n2,8\n3,8\n60,8\n", "has 1 gaps, the longest of 57.0 s from 3.0 s on"),
    ],
    ids=["ends early", "has a gap"],
)
def test_an_odd_trace_is_named_and_no_frame_is_lost(
    edge: Run,
    sample_directory: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    lines: str,
    remark: str,
) -> None:
    trace = tmp_path / "odd.csv"
    trace.write_text("t_s,mbps\n" + lines)
    with cloud_process(sample_directory) as cloud:
        shaped = ("--trace", str(trace), "--trace-end", "stop")
        with shaper_process(cloud.endpoint, *shaped) as shaper:
            done = edge(shaper.endpoint, *LARGE, *LIVE)
    assert remark in capfd.readouterr().err
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert done.summary["late"] == 0
    assert done.summary["answered_by"]["cloud"] > 0
