"""Whatever is wrong ends in one clear line and the right exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitnet.bundle import Contract
from splitnet.processes import cloud_process
from splitnet.runtime.directory import open_bundle
from tests.end_to_end.conftest import LIVE, PATIENCE_S, SAMPLES, Run, command, frames_of

USAGE, FAILED = 2, 1


@pytest.fixture
def copy(sample_directory: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sample_directory, tmp_path / "copy")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--polcy", "greedy"], USAGE, "unknown option --polcy (did you mean '--policy'?)"),
        (["--policy", "gredy"], USAGE, "unknown policies id 'gredy' (did you mean 'greedy'?)"),
        (["--policy", "fixed:plan=c1@9"], USAGE, "c1@9"),
        (["--source", "nothing.npz"], USAGE, "there is no file nothing.npz"),
        (["--source", "nothing"], USAGE, "there is no nothing; a source is"),
        (["--bundle", "nothing"], FAILED, "there is no bundle at nothing"),
        (["--connect", "tcp://10.0.0.1:5555"], USAGE, "needs keys"),
        (["--connect", "nonsense"], USAGE, "--connect 'nonsense' is not an endpoint"),
        (["--rate", "fast"], USAGE, "--rate: 'fast' is not a number"),
        (["--rate", "inf"], USAGE, "--rate is inf, it must be above 0 and finite"),
        (["--max-reply-bytes", "99999999999"], USAGE, "must be an integer 0 to 4294967295"),
        (["--device", "d" * 129], USAGE, "--device has 129 bytes, allowed are at most 128"),
        (["--json", "--limit", "0"], USAGE, "--limit is 0"),
        (["--emulate-device", "0.1"], USAGE, "at least 1 is needed"),
        (["--emulate-device", "rasberry-pi-4"], USAGE, "did you mean 'raspberry-pi-4'"),
        (["--deadline-ms", "0.01"], USAGE, "--deadline-ms 0.01 is shorter than the first answer"),
        (["--config", "nothing.toml"], USAGE, "cannot read the configuration nothing.toml"),
    ],
)
def test_options_that_cannot_be_used(
    edge: Run, options: list[str], code: int, message: str
) -> None:
    done = edge("tcp://127.0.0.1:9", *options)
    assert done.code == code
    assert message in done.error
    assert done.answers == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edge"], "COMMAND"),
        (["edeg", "run"], "unknown command edeg (did you mean 'edge'?)"),
        (["edge", "rnu"], "rnu"),
        (["cloud", "serve"], "missing --bundle"),
        (["cloud", "serve", "--bundle", "b", "--bind", "tcp://0.0.0.0:1"], "needs keys"),
        (["cloud", "serve", "--bundle", "b", "--max-chunk-bytes", "100"], "512 to 67108864"),
        ([], "COMMAND"),
    ],
)
def test_commands_that_cannot_be_used(splitnet: Run, arguments: list[str], message: str) -> None:
    done = splitnet(*arguments)
    assert done.code == USAGE
    assert message in done.error


def test_the_environment_is_checked_like_options(splitnet: Run, samples: Path) -> None:
    arguments = ("edge", "run", "--bundle", "b", "--connect", "tcp://127.0.0.1:9")
    done = splitnet(*arguments, "--source", samples, env={"SPLITNET_EDGE_POLCY": "greedy"})
    assert done.code == USAGE
    assert "SPLITNET_EDGE_POLCY: unknown setting (did you mean 'policy'?)" in done.error


@pytest.mark.parametrize("name", ["segment-1.onnx", "contract.json", "sample_table.npz"])
def test_a_damaged_bundle(edge: Run, splitnet: Run, copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (copy / name).write_bytes(data)
    for done in (
        edge("tcp://127.0.0.1:9", "--bundle", copy),
        splitnet("cloud", "serve", "--bundle", copy, "--bind", "tcp://127.0.0.1:*"),
    ):
        assert done.code == FAILED
        assert name in done.error


def test_a_missing_shard(edge: Run, copy: Path) -> None:
    shard = open_bundle(copy).contract.segments[0].graph.shards[0]
    (copy / "shards" / shard).unlink()
    done = edge("tcp://127.0.0.1:9", "--bundle", copy)
    assert done.code == FAILED
    assert f"{shard} is missing" in done.error


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 30, 32), np.uint8), "shape (1, 1, 30, 32)"),
        (np.zeros((2, 32, 32, 3), np.uint8), "shape (1, 3, 32, 32)"),
        (np.zeros((2, 32, 32), np.float64), "dtype float64 is not accepted"),
        (np.zeros((2, 32, 32), np.float32), "'scale' needs whole numbers, the sample is float32"),
        (np.zeros((2, 9), np.uint8), "is not an image"),
    ],
)
def test_samples_of_the_wrong_form(
    edge: Run, tmp_path: Path, x: np.ndarray[tuple[int, ...], np.dtype[np.generic]], message: str
) -> None:
    np.savez(tmp_path / "bad.npz", x=x)
    done = edge("tcp://127.0.0.1:9", "--source", tmp_path / "bad.npz")
    assert done.code == FAILED
    assert message in done.error


def test_labels_that_do_not_fit_the_model(edge: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 32, 32), np.uint8), y=np.zeros((1, 64), np.int64))
    options = ("--source", tmp_path / "x.npz", "--policy", "fixed:plan=device:end")
    done = edge("tcp://127.0.0.1:9", *options)
    assert done.code == USAGE
    assert "gives 1 labels a sample, the data has 64" in done.error
    assert done.answers == []


def test_an_unreadable_image_is_named_counted_and_costs_no_other(edge: Run, tmp_path: Path) -> None:
    for number in range(5):
        Image.new("L", (32, 32), number).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"broken")
    done = edge("tcp://127.0.0.1:9", "--source", tmp_path, "--policy", "fixed:plan=device:end")
    assert done.code == FAILED
    assert done.summary["failed"] == 1
    errors = {answer["frame"]: answer["error"] for answer in done.answers}
    assert [frame for frame, error in sorted(errors.items()) if error] == [2]
    assert done.stderr.count("cannot read the image") == 1


def test_answers_that_cannot_be_written(sample_directory: Path, samples: Path) -> None:
    options = ("--bundle", sample_directory, "--source", samples, "--connect", "tcp://127.0.0.1:9")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("edge", "run", *options, "--policy", "fixed:plan=device:end", "--json"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == FAILED
    assert done.stderr.splitlines()[-1] == (
        "error: cannot write the answers: No space left on device"
    )
    assert "Traceback" not in done.stderr


def test_a_port_in_use(splitnet: Run, sample_directory: Path) -> None:
    with cloud_process(sample_directory) as cloud:
        done = splitnet("cloud", "serve", "--bundle", sample_directory, "--bind", cloud.endpoint)
    assert done.code == FAILED
    assert f"{cloud.endpoint} is in use" in done.error
    assert "--bind" in done.error


def test_a_worker_of_another_bundle_is_named_and_answers_are_local(
    edge: Run, sample_directory: Path, copy: Path
) -> None:
    text = (copy / "contract.json").read_text()
    (copy / "contract.json").write_text(text.replace('"by": 255.0', '"by": 254.0'))
    contract = Contract.from_json(json.loads((copy / "contract.json").read_text()))
    advice = json.loads((copy / "advice.json").read_text())
    (copy / "advice.json").write_text(json.dumps(advice | {"contract_sha256": contract.sha256}))
    with cloud_process(copy) as cloud:
        done = edge(cloud.endpoint, "--policy", "fixed:plan=c1@0", *LIVE)
    assert done.code == 0
    assert "no path in common" in done.stderr
    assert frames_of(done.answers) == list(range(SAMPLES))
    assert "cloud" not in done.summary["answered_by"]


def test_a_reply_over_the_limit_is_refused_and_the_request_answered_locally(
    edge: Run, sample_directory: Path
) -> None:
    options = ("--policy", "fixed:plan=c1@0", "--max-reply-bytes", "39", "--limit", "5")
    with cloud_process(sample_directory) as cloud:
        done = edge(cloud.endpoint, *options)
    assert done.code == 0
    assert frames_of(done.answers) == list(range(5))
    assert "cloud" not in done.summary["answered_by"]
    assert "reply of 40 bytes, the agent takes 39" in done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["edge"], ["edge", "run"], ["cloud"], ["cloud", "serve"]]
)
def test_help_has_an_example(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "splitnet", *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "example:" in done.stdout
