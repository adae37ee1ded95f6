"""Batches of payloads, good and bad ones together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.bundle import Bundle
from splitnet.errors import BundleError, WireCode
from splitnet.machines.agent_io import Encode, Encoded, Prepare, RunSegments
from splitnet.machines.worker_io import BatchItem, ItemResult, RunBatch
from splitnet.runtime.answers import labels
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.payloads import decode_tensors
from splitnet.runtime.preprocess import prepare
from splitnet.runtime.sessions import Graph
from splitnet.runtime.worker import WorkerRuntime

ENTRY = {"input": 0, "c1": 1, "c2": 2, "bottleneck": 1}
SAMPLES = np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def worker(files: Path, bundle: Bundle) -> WorkerRuntime:
    return WorkerRuntime(files, bundle)


@pytest.fixture(scope="module")
def device(files: Path, bundle: Bundle) -> DeviceRuntime:
    return DeviceRuntime(files, bundle)


@pytest.fixture(scope="module")
def truth(files: Path, bundle: Bundle) -> NDArray[Any]:
    batch = np.concatenate([prepare(sample, bundle.contract.preprocess) for sample in SAMPLES])
    return Graph(files / "whole.onnx").run([batch])[0]


def item(device: DeviceRuntime, number: int, path: str, level: int = 0) -> BatchItem:
    device.start(number, lambda: SAMPLES[number])
    device.run(number, Prepare())
    device.run(number, RunSegments(0, 2))
    encoded = device.run(number, Encode(path, level))
    assert isinstance(encoded, Encoded)
    return BatchItem(path, level, encoded.payload, encoded.dims)


def output(bundle: Bundle, result: ItemResult) -> NDArray[Any]:
    assert isinstance(result.payload, bytes)
    contract = bundle.contract
    (found,) = decode_tensors(contract.reply, contract.outputs, result.payload, result.dims)
    logits: NDArray[Any] = found[0]
    return logits


@pytest.mark.parametrize("path", ["input", "c1", "c2"])
def test_exact_paths_give_the_whole_model_s_output(
    bundle: Bundle, worker: WorkerRuntime, device: DeviceRuntime, truth: NDArray[Any], path: str
) -> None:
    items = tuple(item(device, n, path) for n in range(6))
    decode_s, run_s, results = worker.run(RunBatch(1, 0, ENTRY[path], 3, items))
    found = np.stack([output(bundle, result) for result in results])
    np.testing.assert_allclose(found, truth, atol=1e-4 * np.abs(truth).max())
    assert decode_s > 0
    assert run_s > 0


def test_paths_and_levels_with_one_entry_share_a_batch(
    bundle: Bundle, worker: WorkerRuntime, device: DeviceRuntime, truth: NDArray[Any]
) -> None:
    items = (
        item(device, 0, "bottleneck"),
        item(device, 1, "c1"),
        item(device, 2, "bottleneck", 1),
        item(device, 3, "c1", 1),
    )
    _, _, results = worker.run(RunBatch(1, 0, 1, 3, items))
    for number in (1, 3):
        found = output(bundle, results[number])
        assert labels(found[np.newaxis])[0] == labels(truth[number : number + 1])[0]
    for number, single in enumerate(items):
        _, _, (alone,) = worker.run(RunBatch(1, 0, 1, 3, (single,)))
        np.testing.assert_allclose(
            output(bundle, alone), output(bundle, results[number]), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("payload", "dims", "code", "message"),
    [
        (b"", (), WireCode.CORRUPT, "0"),
        (b"\0" * 17, (), WireCode.CORRUPT, "17"),
        (np.full(2048, np.nan, np.float32).tobytes(), (), WireCode.BAD_TENSOR, "not finite"),
        (b"\0" * 8192, (1, 2), WireCode.BAD_TENSOR, "2 dynamic dimensions"),
    ],
)
def test_a_bad_item_hurts_nobody_else(
    bundle: Bundle,
    worker: WorkerRuntime,
    device: DeviceRuntime,
    truth: NDArray[Any],
    payload: bytes,
    dims: tuple[int, ...],
    code: WireCode,
    message: str,
) -> None:
    bad = BatchItem("c1", 0, payload, dims)
    items = (item(device, 0, "c1"), bad, item(device, 2, "c1"))
    _, _, results = worker.run(RunBatch(1, 0, 1, 3, items))
    assert results[1].payload is None
    assert results[1].code is code
    assert message in results[1].message
    assert "\n" not in results[1].message
    for number in (0, 2):
        assert output(bundle, results[number]).argmax() == truth[number].argmax()


def test_a_batch_of_nothing_but_bad_items(worker: WorkerRuntime) -> None:
    items = (BatchItem("c2", 1, b"x"), BatchItem("bottleneck", 1, b""))
    _, _, results = worker.run(RunBatch(1, 0, 1, 3, items))
    assert [result.code for result in results] == [WireCode.CORRUPT] * 2


def test_warm_up_opens_everything_and_refuses_what_is_damaged(
    files: Path, bundle: Bundle, tmp_path: Path
) -> None:
    WorkerRuntime(files, bundle).warm_up((1, 4))
    for name in ("segment-2.onnx", "decoder-bottleneck.onnx"):
        copy = shutil.copytree(files, tmp_path / name)
        (copy / name).write_bytes(b"damaged")
        with pytest.raises(BundleError, match=f"{name} is damaged"):
            WorkerRuntime(copy, bundle).warm_up((1,))
