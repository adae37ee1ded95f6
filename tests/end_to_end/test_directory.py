"""Workers that announce themselves, edges that look them up, and directories that fail or lie."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from splitnet.processes import cloud_process, directory_process, edge_process
from splitnet.values import Load
from splitnet.wire import Lookup, Message, Offer, WorkerOffer, encode
from tests.end_to_end.conftest import LIVE, PATIENCE_S, SAMPLES, Run, frames_of
from tests.end_to_end.test_bad_worker import Frames, fake_worker
from tests.transport.key_files import make_keys, make_list

FIXED = ("--policy", "fixed:plan=c1@0")
SHORT_LEASE = ("--lease-s", "1")


@pytest.fixture
def finding_edge(splitnet: Run, sample_directory: Path, samples: Path) -> Run:
    """Run an edge that asks a directory, to its end."""

    def run(directory: str, *options: str) -> object:
        usual = ("--bundle", sample_directory, "--source", samples, "--directory", directory)
        return splitnet("edge", "run", *usual, *options)

    return run  # type: ignore[return-value]


def test_an_edge_finds_a_worker(sample_directory: Path, finding_edge: Run) -> None:
    with directory_process() as directory:
        with cloud_process(sample_directory, "--directory", directory.endpoint):
            done = finding_edge(directory.endpoint, *FIXED)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert done.summary["answered_by"] == {"cloud": SAMPLES}
    assert done.summary["counters"]["lookups"] >= 1


def test_a_killed_worker_is_replaced_by_another_one(sample_directory: Path, samples: Path) -> None:
    """The lease of the dead one still runs: the edge is sent there, too, and goes on."""
    with directory_process() as directory:
        announced = ("--directory", directory.endpoint)
        options = (*announced, "--source", str(samples), "--repeat", "5", *FIXED)
        with (
            cloud_process(sample_directory, *announced) as first,
            edge_process(sample_directory, None, *options) as edge,
        ):
            answers = []
            for answer in edge.answers():
                answers.append(answer)
                if len(answers) == 50:
                    break
            with cloud_process(sample_directory, *announced):
                first.process.kill()
                answers += edge.answers()
                assert edge.process.wait(PATIENCE_S) == 0
    assert frames_of(answers) == list(range(5 * SAMPLES))
    assert edge.summary["answered_by"] == {"cloud": 5 * SAMPLES}
    assert edge.summary["reconnects"] >= 1


def test_a_worker_that_drains_is_offered_no_longer(
    sample_directory: Path, finding_edge: Run
) -> None:
    with directory_process() as directory:
        announced = ("--directory", directory.endpoint, "--lease-s", "60")
        with cloud_process(sample_directory, *announced) as cloud:
            assert finding_edge(directory.endpoint, *FIXED, "--limit", "1").code == 0
            cloud.process.send_signal(signal.SIGTERM)
            assert cloud.process.wait(PATIENCE_S) == 0
            done = finding_edge(directory.endpoint, *FIXED, "--expiry-s", "0.5", "--limit", "1")
    assert "cloud" not in done.summary["answered_by"]
    assert "knows no worker" in done.stderr
    assert done.summary["counters"]["empty_offers"] >= 1


def test_a_directory_that_was_restarted_learns_the_workers_again(
    sample_directory: Path, finding_edge: Run
) -> None:
    with directory_process() as directory:
        announced = ("--directory", directory.endpoint, *SHORT_LEASE)
        with cloud_process(sample_directory, *announced):
            assert finding_edge(directory.endpoint, *FIXED, "--limit", "1").code == 0
            directory.process.kill()
            directory.process.wait(PATIENCE_S)
            with directory_process(bind=directory.endpoint):
                done = finding_edge(directory.endpoint, *FIXED)
    assert done.summary["answered_by"] == {"cloud": SAMPLES}


def test_a_directory_that_is_gone_costs_no_answer(sample_directory: Path, samples: Path) -> None:
    """The worker is restarted at its endpoint: the edge remembers where it was."""
    with directory_process() as directory:
        announced = ("--directory", directory.endpoint)
        options = (*announced, "--source", str(samples), "--repeat", "5", *FIXED)
        with (
            cloud_process(sample_directory, *announced) as cloud,
            edge_process(sample_directory, None, *options) as edge,
        ):
            answers = []
            for answer in edge.answers():
                answers.append(answer)
                if len(answers) == 50:
                    break
            for process in (directory.process, cloud.process):
                process.kill()
                process.wait(PATIENCE_S)
            with cloud_process(sample_directory, *announced, bind=cloud.endpoint):
                answers += edge.answers()
                assert edge.process.wait(PATIENCE_S) == 0
    assert frames_of(answers) == list(range(5 * SAMPLES))
    assert edge.summary["answered_by"] == {"cloud": 5 * SAMPLES}
    assert edge.summary["counters"]["failed_lookups"] >= 1


def test_without_a_directory_live_requests_are_answered_on_the_device(finding_edge: Run) -> None:
    done = finding_edge("tcp://127.0.0.1:9", *LIVE, *FIXED)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert done.summary["late"] == 0
    assert "nobody listens there" in done.stderr


def offering(*endpoints: str) -> Callable[[Message], list[Frames]]:
    """A directory that offers these endpoints to everybody."""
    offers = tuple(
        WorkerOffer(n, endpoint, b"", b"", 10_000, Load()) for n, endpoint in enumerate(endpoints)
    )

    def answer(message: Message) -> list[Frames]:
        return [encode(Offer(offers))] if isinstance(message, Lookup) else []

    return answer


def test_lies_among_the_offers_cost_time_only(sample_directory: Path, finding_edge: Run) -> None:
    with cloud_process(sample_directory) as cloud:
        lies = ("nonsense", "tcp://10.0.0.1:5555", "tcp://127.0.0.1:9")
        with fake_worker(offering(*lies, cloud.endpoint)) as directory:
            done = finding_edge(directory, *FIXED)
    assert done.code == 0
    assert done.summary["answered_by"] == {"cloud": SAMPLES}
    assert done.summary["counters"]["unusable_offers"] >= 2


@pytest.mark.parametrize(
    ("answer", "counter"),
    [
        (lambda message: [[b"babble"]], "failed_lookups"),
        (lambda message: [encode(message)], "failed_lookups"),
        (lambda message: [], "lookups"),
        (offering("nonsense"), "unusable_offers"),
    ],
    ids=["babble", "echo", "silence", "nonsense"],
)
def test_a_directory_of_no_use_is_counted_and_not_needed(
    finding_edge: Run, answer: Callable[[Message], list[Frames]], counter: str
) -> None:
    with fake_worker(answer) as directory:
        done = finding_edge(directory, *LIVE, *FIXED)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in done.summary["answered_by"]
    assert done.summary["late"] == 0
    assert done.summary["counters"][counter] >= 1


def test_with_keys_the_directory_tells_the_keys_of_the_workers(
    sample_directory: Path, finding_edge: Run, tmp_path: Path
) -> None:
    device = make_keys(tmp_path, "device", "pi")
    worker = make_keys(tmp_path, "worker", "worker")
    known = make_keys(tmp_path, "directory", "directory")
    everybody = str(make_list(tmp_path / "everybody", [device, worker]))
    devices = str(make_list(tmp_path / "devices", [device]))
    own = ("--key", str(known.secret), "--allow", everybody)
    with directory_process(*own, bind="tcp://0.0.0.0:*") as directory:
        endpoint = directory.endpoint.replace("0.0.0.0", "127.0.0.1")
        pinned = ("--directory-key", str(known.public))
        keys = ("--key", str(worker.secret), "--allow", devices)
        with cloud_process(sample_directory, "--directory", endpoint, *pinned, *keys):
            done = finding_edge(endpoint, *pinned, "--key", str(device.secret), *FIXED)
        stranger = finding_edge(
            endpoint, "--directory-key", str(worker.public), "--key", str(device.secret), *FIXED
        )
    assert done.summary["answered_by"] == {"cloud": SAMPLES}
    assert stranger.code == 2
    assert "directory" in stranger.error


def test_a_directory_s_port_that_is_taken_is_named(splitnet: Run) -> None:
    with directory_process() as directory:
        done = splitnet("cloud", "directory", "--bind", directory.endpoint)
    assert done.code == 1
    assert "is in use" in done.error
