"""The whole road: an edge process and a cloud process answer real samples."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from splitnet.devices import device_class
from splitnet.processes import cloud_process, edge_process
from tests.end_to_end.conftest import LIVE, PATIENCE_S, SAMPLES, Run, command, frames_of


@pytest.mark.parametrize("plan", ["input@0", "c1@0", "c2@0"])
def test_every_exact_path_answers_like_the_whole_model(
    sample_directory: Path, edge: Run, plan: str
) -> None:
    with cloud_process(sample_directory) as cloud:
        done = edge(cloud.endpoint, "--policy", f"fixed:plan={plan}")
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert done.summary["answered_by"] == {"cloud": SAMPLES}
    assert done.summary["accuracy"] == 1.0
    assert all(answer["plan"] == plan for answer in done.answers)


def test_an_answer_says_what_ran_where(sample_directory: Path, edge: Run) -> None:
    with cloud_process(sample_directory) as cloud:
        done = edge(cloud.endpoint, "--policy", "fixed:plan=bottleneck@0", "--limit", "2")
    for answer in done.answers:
        assert answer["device_segments"] == [0, 1]
        assert answer["cloud_segments"] == [1, 3]
        assert (answer["uplink_bytes"], answer["downlink_bytes"]) == (1024, 40)
        assert 0 < answer["header_bytes"] < 120
        assert {"prepare", "segment:0", "encode:bottleneck@0"} <= set(answer["stages_ms"])


def test_a_live_source_is_answered_by_the_deadline(sample_directory: Path, edge: Run) -> None:
    with cloud_process(sample_directory) as cloud:
        done = edge(cloud.endpoint, *LIVE, "--policy", "fixed:plan=c1@1+exits")
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert done.summary["late"] == 0


def test_without_a_worker_live_requests_are_answered_on_the_device(edge: Run) -> None:
    done = edge("tcp://127.0.0.1:9", *LIVE, "--policy", "fixed:plan=c1@1")
    assert done.code == 0
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in done.summary["answered_by"]
    assert "nobody listens there" in done.stderr


def test_without_a_worker_deferred_requests_wait_until_they_expire(edge: Run) -> None:
    done = edge(
        "tcp://127.0.0.1:9", "--policy", "fixed:plan=c1@1", "--expiry-s", "0.3", "--limit", "3"
    )
    assert done.code == 0
    assert frames_of(done.answers) == [0, 1, 2]
    assert "cloud" not in done.summary["answered_by"]


def test_a_slow_device_is_emulated(edge: Run) -> None:
    options = ("--policy", "fixed:plan=device:end", "--limit", "5")
    plain = edge("tcp://127.0.0.1:9", *options)
    slow = edge("tcp://127.0.0.1:9", *options, "--emulate-device", "30")
    assert slow.summary["latency_ms"]["p50"] > 4 * plain.summary["latency_ms"]["p50"]


def test_a_device_class_takes_for_each_stage_what_the_profile_says(edge: Run) -> None:
    """The sample bundle: 1 ms and 3 segments of 4 ms, 10 ms for the reference network."""
    options = ("--policy", "fixed:plan=device:end", "--limit", "5")
    done = edge("tcp://127.0.0.1:9", *options, "--emulate-device", "raspberry-pi-4")
    wanted_ms = 13 * device_class("raspberry-pi-4").reference_s / 0.010
    found_ms = [sum(answer["stages_ms"].values()) for answer in done.answers]
    assert len(found_ms) == 5
    assert wanted_ms <= statistics.median(found_ms) < 1.2 * wanted_ms


def test_a_worker_killed_under_way_costs_no_answer(sample_directory: Path, samples: Path) -> None:
    """Killed and started again on the same port: nothing twice, nothing unanswered."""
    options = ("--source", str(samples), "--repeat", "5", "--policy", "fixed:plan=c1@0")
    with cloud_process(sample_directory) as cloud:
        with edge_process(sample_directory, cloud.endpoint, *options) as edge:
            answers = []
            for answer in edge.answers():
                answers.append(answer)
                if len(answers) == 50:
                    cloud.process.kill()
                    cloud.process.wait()
                    break
            with cloud_process(sample_directory, bind=cloud.endpoint):
                answers += edge.answers()
                assert edge.process.wait(PATIENCE_S) == 0
    assert frames_of(answers) == list(range(5 * SAMPLES))
    assert edge.summary["answered_by"] == {"cloud": 5 * SAMPLES}
    assert edge.summary["reconnects"] >= 1


def test_live_requests_survive_a_killed_worker_in_time(
    sample_directory: Path, samples: Path
) -> None:
    options = ("--source", str(samples), "--repeat", "3", "--policy", "fixed:plan=c1@0", *LIVE)
    with cloud_process(sample_directory) as cloud:
        with edge_process(sample_directory, cloud.endpoint, *options) as edge:
            answers = []
            for answer in edge.answers():
                answers.append(answer)
                if len(answers) == 50:
                    cloud.process.kill()
    assert frames_of(answers) == list(range(3 * SAMPLES))
    assert edge.summary["late"] == 0
    assert (
        set(edge.summary["answered_by"]) == {"cloud", "exit"}
        or "device" in edge.summary["answered_by"]
    )


def test_a_killed_edge_comes_back_while_another_is_served(
    sample_directory: Path, samples: Path
) -> None:
    options = ("--source", str(samples), "--policy", "fixed:plan=c1@0")
    with cloud_process(sample_directory) as cloud:
        with edge_process(sample_directory, cloud.endpoint, *options, "--repeat", "9") as other:
            others = other.answers()
            next(others)
            with edge_process(
                sample_directory, cloud.endpoint, *options, "--repeat", "99"
            ) as first:
                for _, _ in zip(range(10), first.answers(), strict=False):
                    pass
                first.process.kill()
            with edge_process(sample_directory, cloud.endpoint, *options) as second:
                answers = list(second.answers())
            served = 1 + sum(1 for _ in others)
    assert frames_of(answers) == list(range(SAMPLES))
    assert second.summary["answered_by"] == {"cloud": SAMPLES}
    assert served == 9 * SAMPLES
    assert other.summary["reconnects"] == 0


def test_sigterm_drains_the_edge(sample_directory: Path, samples: Path) -> None:
    options = ("--source", str(samples), "--repeat", "1000", "--policy", "fixed:plan=c1@0")
    with cloud_process(sample_directory) as cloud:
        with edge_process(sample_directory, cloud.endpoint, *options) as edge:
            answers = []
            for answer in edge.answers():
                answers.append(answer)
                if len(answers) == 20:
                    edge.process.send_signal(signal.SIGTERM)
            assert edge.process.wait(PATIENCE_S) == 0
    assert frames_of(answers) == list(range(len(answers)))
    assert edge.summary["answers"] == len(answers) < 1000 * SAMPLES
    assert edge.summary["frames"] == len(answers) + edge.summary["dropped_frames"]


def test_sigterm_drains_the_cloud_and_the_edge_goes_on_alone(
    sample_directory: Path, samples: Path
) -> None:
    options = ("--source", str(samples), "--repeat", "3", "--policy", "fixed:plan=c1@0", *LIVE)
    with cloud_process(sample_directory) as cloud:
        with edge_process(sample_directory, cloud.endpoint, *options) as edge:
            answers = []
            for answer in edge.answers():
                answers.append(answer)
                if len(answers) == 50:
                    cloud.process.send_signal(signal.SIGTERM)
        assert cloud.process.wait(PATIENCE_S) == 0
    assert frames_of(answers) == list(range(3 * SAMPLES))
    assert edge.summary["late"] == 0


def start(bundle: Path, samples: Path, *options: str) -> subprocess.Popen[str]:
    """Start an edge process without a worker."""
    usual = ("--bundle", bundle, "--connect", "tcp://127.0.0.1:9", "--source", samples)
    return subprocess.Popen(
        command("edge", "run", *usual, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_signal_ends_an_edge_that_waits(sample_directory: Path, samples: Path) -> None:
    options = ("--policy", "fixed:plan=c1@0", "--expiry-s", "600")
    with start(sample_directory, samples, *options) as process:
        assert process.stderr is not None
        assert "nobody listens" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two signals at once would be one
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130


def test_a_reader_that_leaves_ends_the_edge_quietly(sample_directory: Path, samples: Path) -> None:
    options = ("--policy", "fixed:plan=device:end", "--repeat", "1000")
    with start(sample_directory, samples, *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 1
        assert "Traceback" not in process.stderr.read()
