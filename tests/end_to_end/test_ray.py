"""Real Ray Serve: replicas that are killed, rolled and configured, and no answer is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq

from splitnet.processes import EdgeProcess, cloud_process, directory_process, edge_process
from splitnet.runtime.directory import open_bundle
from splitnet.wire import Lookup, Offer, decode, encode
from tests.end_to_end.conftest import SAMPLES, Run, frames_of
from tests.transport.key_files import make_keys, make_list

pytest.importorskip("ray", reason="Ray is not installed: pip install 'splitnet[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

START_S = 90.0
"""Ray takes seconds to start, more where everything is started at once."""

PORTS = "tcp://127.0.0.1:5600-5699"
FIXED = ("--policy", "fixed:plan=c1@0")
SHORT_LEASE = ("--lease-s", "2")


@pytest.fixture(autouse=True)
def own_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray of this test alone; its folder's name must be short, as it holds sockets."""
    folder = tempfile.mkdtemp(prefix="r")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    shutil.rmtree(folder, ignore_errors=True)


def offered(directory: str, sample_directory: Path) -> set[int]:
    """Return the workers that a directory offers."""
    contract = open_bundle(sample_directory).contract
    paths = tuple(contract.path_hash(path.id) for path in contract.paths)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(directory)
        dealer.send_multipart(encode(Lookup(paths)))
        assert dealer.poll(5000)
        offer = decode(dealer.recv_multipart())
        dealer.poll(100)
    assert isinstance(offer, Offer)
    return {worker.worker for worker in offer.workers}


def new_workers(directory: str, bundle: Path, count: int, old: set[int]) -> set[int]:
    """Wait until `count` workers are offered of which none is among the old ones."""
    end_s = time.monotonic() + START_S
    while len(found := offered(directory, bundle)) != count or found & old:
        assert time.monotonic() < end_s, f"{found} are offered, {old} were before"
    return found


def replicas(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the replicas of a Ray that `process` has started."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "ServeReplica:splitnet" in " ".join(child.cmdline())]


def take(edge: EdgeProcess, count: int) -> list[dict[str, object]]:
    """Return the next answers of an edge."""
    return [answer for _, answer in zip(range(count), edge.answers(), strict=False)]


def assert_nothing_lost(answers: list[dict[str, object]], edge: EdgeProcess) -> None:
    """Every frame was dropped before admission or answered once, by the cloud."""
    frames = frames_of(answers)
    assert len(frames) == len(set(frames)) == edge.summary["answers"]
    assert edge.summary["frames"] == len(frames) + edge.summary["dropped_frames"]
    assert edge.summary["answered_by"] == {"cloud": len(frames)}
    assert edge.summary["reconnects"] >= 1


def test_killed_replicas_come_back_and_cost_no_answer(
    sample_directory: Path, samples: Path
) -> None:
    with directory_process() as directory:
        found = ("--directory", directory.endpoint)
        options = ("--ray", "--replicas", "2", *found, *SHORT_LEASE)
        edge_options = (*found, "--source", str(samples), "--repeat", "400", *FIXED)
        with cloud_process(sample_directory, *options, bind=PORTS) as cloud:
            old = new_workers(directory.endpoint, sample_directory, 2, set())
            with edge_process(sample_directory, None, *edge_options, "--rate", "200") as edge:
                answers = take(edge, 200)
                victims = replicas(cloud.process)
                assert len(victims) == 2
                for victim in victims:
                    victim.kill()
                new_workers(directory.endpoint, sample_directory, 2, old)
                answers += take(edge, 500)
                edge.process.terminate()
                answers += edge.answers()
    assert_nothing_lost(answers, edge)


def test_an_update_rolls_over_the_replicas_and_costs_no_answer(
    sample_directory: Path, samples: Path
) -> None:
    """The second command joins the Ray of the first one and deploys other settings."""
    with directory_process() as directory:
        found = ("--directory", directory.endpoint)
        options = ("--ray", "--replicas", "2", *found, *SHORT_LEASE)
        edge_options = (*found, "--source", str(samples), "--repeat", "400", *FIXED)
        with cloud_process(sample_directory, *options, bind=PORTS):
            old = new_workers(directory.endpoint, sample_directory, 2, set())
            with edge_process(sample_directory, None, *edge_options, "--rate", "100") as edge:
                answers = take(edge, 100)
                with cloud_process(sample_directory, *options, "--max-batch", "4", bind=PORTS):
                    new_workers(directory.endpoint, sample_directory, 2, old)
                    answers += take(edge, 300)
                    edge.process.terminate()
                    answers += edge.answers()
    assert_nothing_lost(answers, edge)


def test_with_keys_replicas_are_found_through_a_directory_with_keys(
    sample_directory: Path,
    samples: Path,
    splitnet: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bound to all addresses; the names of key files are relative to the command's folder."""
    device = make_keys(tmp_path, "device", "pi")
    stranger = make_keys(tmp_path, "device", "stranger")
    worker = make_keys(tmp_path, "worker", "worker")
    make_keys(tmp_path, "directory", "directory")
    make_list(tmp_path / "everybody", [device, stranger, worker])
    make_list(tmp_path / "devices", [device])
    monkeypatch.chdir(tmp_path)
    with directory_process("--key", "directory.key", "--allow", "everybody") as directory:
        found = ("--directory", directory.endpoint, "--directory-key", "directory.pub")
        keys = ("--key", "worker.key", "--allow", "devices")
        options = ("--ray", "--replicas", "2", *found, *keys, "--advertise", "tcp://127.0.0.1")
        with cloud_process(
            sample_directory, *options, *SHORT_LEASE, bind="tcp://0.0.0.0:5600-5699"
        ):
            usual = ("--bundle", sample_directory, "--source", samples, *FIXED, *found)
            done = splitnet("edge", "run", *usual, "--key", device.secret)
            patient = ("--expiry-s", "1", "--limit", "1")
            refused = splitnet("edge", "run", *usual, *patient, "--key", stranger.secret)
    assert done.summary["answered_by"] == {"cloud": SAMPLES}
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in refused.summary["answered_by"]
    assert "the worker does not know this key" in refused.stderr


def test_serve_run_with_a_config_file(
    sample_directory: Path, samples: Path, splitnet: Run, tmp_path: Path
) -> None:
    with directory_process() as directory:
        arguments = {
            "bundle": str(sample_directory),
            "bind": PORTS,
            "directory": directory.endpoint,
            "lease_s": 2,
        }
        application = {
            "name": "cloud",
            "route_prefix": None,
            "import_path": "splitnet.cloud.serve_app:app",
            "args": arguments,
        }
        file = tmp_path / "serve.yaml"
        file.write_text(json.dumps({"proxy_location": "Disabled", "applications": [application]}))
        command = [str(Path(sys.executable).with_name("serve")), "run", str(file)]
        with (
            (tmp_path / "log").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log, cwd=os.fspath(tmp_path)) as serve,
        ):
            try:
                new_workers(directory.endpoint, sample_directory, 1, set())
                usual = ("--bundle", sample_directory, "--source", samples, *FIXED)
                done = splitnet("edge", "run", *usual, "--directory", directory.endpoint)
            finally:
                serve.send_signal(2)
                serve.wait(START_S)
            assert done.summary["answered_by"] == {"cloud": SAMPLES}
            assert offered(directory.endpoint, sample_directory) == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--replicas", "2", "--bind", "tcp://127.0.0.1:5600"), "give a range such as"),
        (("--bind", "tcp://127.0.0.1:5601-5600"), "a range of ports is FIRST-LAST"),
        (("--replicas", "9999", "--bind", PORTS), "need 9999 CPUs, this Ray has"),
        (("--bundle", "missing"), "missing"),
    ],
)
def test_settings_that_cannot_be_used(
    splitnet: Run, sample_directory: Path, options: tuple[str, ...], message: str
) -> None:
    usual = () if "--bundle" in options else ("--bundle", sample_directory)
    done = splitnet("cloud", "serve", "--ray", *usual, *options)
    assert done.code != 0
    assert message in done.stderr.splitlines()[0]
