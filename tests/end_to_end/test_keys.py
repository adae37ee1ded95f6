"""Real processes with keys: who is served, who is not, and what both of them are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from splitnet.processes import cloud_process, edge_process
from splitnet.transport.allow_list import allow
from tests.end_to_end.conftest import LIVE, SAMPLES, Run, frames_of
from tests.transport.key_files import KeyFiles, make_keys, make_list

USAGE = 2
FIXED = ("--policy", "fixed:plan=c1@0")


@dataclass(frozen=True)
class Keyed:
    """Keys of a worker and of two devices, of which the list knows the first."""

    worker: KeyFiles
    device: KeyFiles
    stranger: KeyFiles
    allow: Path

    @property
    def cloud(self) -> tuple[str, ...]:
        return ("--key", str(self.worker.secret), "--allow", str(self.allow))

    def edge(self, device: KeyFiles, server: KeyFiles | None = None) -> tuple[str, ...]:
        public = (server or self.worker).public
        return ("--key", str(device.secret), "--server-key", str(public))


@pytest.fixture
def keyed(tmp_path: Path) -> Keyed:
    device = make_keys(tmp_path, "device", "pi")
    return Keyed(
        make_keys(tmp_path, "worker", "worker"),
        device,
        make_keys(tmp_path, "device", "stranger"),
        make_list(tmp_path / "allow", [device]),
    )


def test_with_keys_everything_works_as_without(
    sample_directory: Path, edge: Run, keyed: Keyed
) -> None:
    with cloud_process(sample_directory, *keyed.cloud) as cloud:
        done = edge(cloud.endpoint, *FIXED, *keyed.edge(keyed.device))
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert done.summary["answered_by"] == {"cloud": SAMPLES}
    assert done.summary["accuracy"] == 1.0


def test_with_keys_a_worker_may_listen_everywhere(
    sample_directory: Path, edge: Run, keyed: Keyed
) -> None:
    with cloud_process(sample_directory, *keyed.cloud, bind="tcp://0.0.0.0:*") as cloud:
        endpoint = cloud.endpoint.replace("0.0.0.0", "127.0.0.1")
        done = edge(endpoint, *FIXED, *keyed.edge(keyed.device), "--limit", "3")
    assert done.summary["answered_by"] == {"cloud": 3}


def test_an_unknown_key_is_refused_and_answers_are_local(
    sample_directory: Path, edge: Run, keyed: Keyed, capfd: pytest.CaptureFixture[str]
) -> None:
    with cloud_process(sample_directory, *keyed.cloud) as cloud:
        done = edge(cloud.endpoint, *FIXED, *LIVE, *keyed.edge(keyed.stranger))
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in done.summary["answered_by"]
    assert done.summary["late"] == 0
    assert "handshake refused: the worker does not know this key" in done.stderr
    said = capfd.readouterr().err
    assert said.count(f"refused unknown key={keyed.stranger.pair.public.text}") == 1
    assert "refused handshakes=" in said


def test_a_wrong_server_key_is_named(sample_directory: Path, edge: Run, keyed: Keyed) -> None:
    other = make_keys(keyed.allow.parent, "worker", "other")
    with cloud_process(sample_directory, *keyed.cloud) as cloud:
        done = edge(cloud.endpoint, *FIXED, *LIVE, *keyed.edge(keyed.device, other))
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in done.summary["answered_by"]
    assert "the server key given here is not the key of this worker" in done.stderr


def test_keys_on_one_side_alone_are_named(sample_directory: Path, edge: Run, keyed: Keyed) -> None:
    with cloud_process(sample_directory, *keyed.cloud) as cloud:
        done = edge(cloud.endpoint, *FIXED, *LIVE, "--limit", "10")
    assert "the peer wants keys" in done.stderr
    with cloud_process(sample_directory) as cloud:
        done = edge(cloud.endpoint, *FIXED, *LIVE, "--limit", "10", *keyed.edge(keyed.device))
    assert "the worker uses no keys" in done.stderr


def test_two_devices_with_one_key_are_both_served(
    sample_directory: Path, samples: Path, keyed: Keyed
) -> None:
    options = ("--source", str(samples), *FIXED, *keyed.edge(keyed.device))
    with (
        cloud_process(sample_directory, *keyed.cloud) as cloud,
        edge_process(sample_directory, cloud.endpoint, *options) as first,
        edge_process(sample_directory, cloud.endpoint, *options) as second,
    ):
        for edge in (first, second):
            assert frames_of(list(edge.answers())) == list(range(SAMPLES))
            assert edge.summary["answered_by"] == {"cloud": SAMPLES}
            assert edge.summary["reconnects"] == 0


def test_a_key_added_under_way_is_served_without_a_restart(
    sample_directory: Path, samples: Path, keyed: Keyed
) -> None:
    options = ("--source", str(samples), *FIXED, *keyed.edge(keyed.stranger))
    with (
        cloud_process(sample_directory, *keyed.cloud) as cloud,
        edge_process(sample_directory, cloud.endpoint, *options) as edge,
    ):
        allow(keyed.allow, [keyed.stranger.pair.public])
        assert frames_of(list(edge.answers())) == list(range(SAMPLES))
        assert edge.summary["answered_by"] == {"cloud": SAMPLES}


def test_a_key_taken_away_under_way_is_served_no_longer(
    sample_directory: Path, samples: Path, keyed: Keyed, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its session ends by silence, and every request is answered once, later ones on the device."""
    calm = ("--rate", "20", "--deadline-ms", "300", "--queue", "60")
    options = ("--source", str(samples), "--repeat", "2", *FIXED, *calm)
    with (
        cloud_process(sample_directory, *keyed.cloud) as cloud,
        edge_process(sample_directory, cloud.endpoint, *options, *keyed.edge(keyed.device)) as edge,
    ):
        answers = []
        for answer in edge.answers():
            answers.append(answer)
            if len(answers) == 10:
                make_list(keyed.allow, [])
    assert frames_of(answers) == list(range(2 * SAMPLES))
    assert edge.summary["answered_by"]["cloud"] >= 1
    assert answers[-1]["answered_by"] != "cloud"
    said = capfd.readouterr().err
    assert "silent for 3" in said
    assert "the worker does not know this key" in said


def test_the_kernel_s_figures_are_in_the_summary(sample_directory: Path, edge: Run) -> None:
    with cloud_process(sample_directory) as cloud:
        done = edge(cloud.endpoint, *FIXED)
    link = done.summary["link"]
    assert 0 < link["min_rtt_ms"] <= link["rtt_ms"] < 1000
    assert link["unsent_bytes"] == 0
    assert link["delivery_bps"] > 0


@pytest.mark.parametrize("side", ["edge", "cloud"])
def test_a_secret_that_others_may_read_is_refused(
    edge: Run, splitnet: Run, sample_directory: Path, keyed: Keyed, side: str
) -> None:
    if side == "edge":
        keyed.device.secret.chmod(0o644)
        done = edge("tcp://127.0.0.1:9", *keyed.edge(keyed.device))
    else:
        keyed.worker.secret.chmod(0o644)
        done = splitnet("cloud", "serve", "--bundle", sample_directory, *keyed.cloud)
    assert done.code == USAGE
    assert "others may use the file (mode 0644); chmod 600" in done.error


def test_keys_that_cannot_be_used(
    edge: Run, splitnet: Run, sample_directory: Path, keyed: Keyed
) -> None:
    serve = ("cloud", "serve", "--bundle", sample_directory, "--key", keyed.worker.secret)
    duplicate = keyed.allow.with_name("duplicate")
    duplicate.write_text(keyed.allow.read_text() * 2)
    key, server_key = "--key", "--server-key"
    local = "tcp://127.0.0.1:9"
    for done, message in (
        (edge("tcp://10.0.0.1:5555"), "needs keys: give --key and --server-key"),
        (edge(local, key, keyed.device.secret), "--key needs --server-key"),
        (edge(local, server_key, keyed.worker.public), "--server-key needs --key"),
        (edge(local, key, keyed.worker.secret, server_key, "x"), "is the key of a worker"),
        (edge(local, key, keyed.device.secret, server_key, "x"), "'x' is not a key"),
        (splitnet(*serve), "--key needs --allow"),
        (splitnet(*serve, "--allow", "nothing"), "cannot read the allow-list nothing"),
        (splitnet(*serve, "--allow", duplicate), "stands in line 1 already"),
    ):
        assert done.code == USAGE
        assert message in done.error
