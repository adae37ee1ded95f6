"""The device's stages on the sample network, against the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.bundle import Bundle
from splitnet.errors import ConfigError, CorruptPayloadError, ModelError, TensorMismatchError
from splitnet.machines.agent_io import (
    Encode,
    Encoded,
    LocalResult,
    Prepare,
    RunExit,
    RunSegments,
)
from splitnet.runtime.answers import labels, max_softmax
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.payloads import decode_tensors, encode_tensors
from splitnet.runtime.preprocess import prepare
from splitnet.runtime.reading import Reading
from splitnet.runtime.sessions import Graph
from tests.sample_files import with_fused_head

SAMPLE = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)


def sample() -> NDArray[Any]:
    return SAMPLE


def found_labels(result: LocalResult) -> list[int]:
    assert isinstance(result.answer, Reading)
    return result.answer.labels


@pytest.fixture
def runtime(files: Path, bundle: Bundle) -> DeviceRuntime:
    runtime = DeviceRuntime(files, bundle)
    runtime.start(1, sample)
    runtime.run(1, Prepare())
    return runtime


@pytest.fixture
def whole(files: Path, bundle: Bundle) -> NDArray[Any]:
    return Graph(files / "whole.onnx").run([prepare(SAMPLE, bundle.contract.preprocess)])[0]


def test_all_segments_give_the_whole_model_s_answer(
    runtime: DeviceRuntime, whole: NDArray[Any]
) -> None:
    assert runtime.run(1, RunSegments(0, 2)) is None
    result = runtime.run(1, RunSegments(2, 3))
    assert isinstance(result, LocalResult)
    assert found_labels(result) == labels(whole)[0].tolist()
    assert result.confidence == pytest.approx(max_softmax(whole)[0], rel=1e-5)


def test_every_boundary_reached_is_kept_for_a_fallback(
    runtime: DeviceRuntime, whole: NDArray[Any]
) -> None:
    runtime.run(1, RunSegments(0, 3))
    for first in (2, 0, 1):
        result = runtime.run(1, RunSegments(first, 3))
        assert isinstance(result, LocalResult)
        assert found_labels(result) == labels(whole)[0].tolist()


def test_a_fused_run_stands_in_for_its_segments(
    files: Path, bundle: Bundle, whole: NDArray[Any], tmp_path: Path
) -> None:
    directory, fused = with_fused_head(files, bundle, tmp_path)
    runtime = DeviceRuntime(directory, fused)
    runtime.start(1, sample)
    runtime.run(1, Prepare())
    assert runtime.run(1, RunSegments(0, 2, fused=True)) is None
    result = runtime.run(1, RunSegments(2, 3))
    assert isinstance(result, LocalResult)
    assert found_labels(result) == labels(whole)[0].tolist()
    assert runtime.open_files == ("fused-0-2.onnx", "segment-2.onnx")


def test_an_exit_uses_its_temperature(files: Path, bundle: Bundle, runtime: DeviceRuntime) -> None:
    runtime.run(1, RunSegments(0, 1))
    result = runtime.run(1, RunExit("e1"))
    a1 = Graph(files / "segment-0.onnx").run([prepare(SAMPLE, bundle.contract.preprocess)])
    logits = Graph(files / "exit-e1.onnx").run(a1)[0]
    assert isinstance(result, LocalResult)
    assert found_labels(result) == labels(logits)[0].tolist()
    assert result.confidence == pytest.approx(max_softmax(logits, 1.5)[0], rel=1e-6)


@pytest.mark.parametrize(("path", "boundary"), [("input", 0), ("c1", 1), ("c2", 2)])
@pytest.mark.parametrize("level", [0, 1])
def test_an_exact_path_sends_its_boundary(
    files: Path, bundle: Bundle, runtime: DeviceRuntime, path: str, boundary: int, level: int
) -> None:
    if boundary:
        runtime.run(1, RunSegments(0, boundary))
    encoded = runtime.run(1, Encode(path, level))
    assert isinstance(encoded, Encoded)
    assert isinstance(encoded.payload, bytes)
    tensors = [prepare(SAMPLE, bundle.contract.preprocess)]
    for index in range(boundary):
        tensors = Graph(files / f"segment-{index}.onnx").run(tensors)
    (hop,) = bundle.contract.path(path).hops
    codecs = bundle.contract.path(path).levels[level].codecs[0]
    (found,) = decode_tensors(codecs, hop.tensors, encoded.payload, encoded.dims)
    step = 0.0 if level == 0 else float(np.ptp(tensors[0])) / 255
    np.testing.assert_allclose(found, tensors[0], atol=step / 2 + 1e-6)


def test_a_learned_path_sends_what_its_encoder_makes(
    files: Path, bundle: Bundle, runtime: DeviceRuntime
) -> None:
    runtime.run(1, RunSegments(0, 1))
    encoded = runtime.run(1, Encode("bottleneck", 0))
    assert isinstance(encoded, Encoded)
    assert (
        len(encoded.payload) == bundle.contract.path("bottleneck").hops[0].tensors[0].sample_bytes()
    )


def test_a_reply_is_decoded(bundle: Bundle, runtime: DeviceRuntime) -> None:
    logits = np.zeros((1, 10), np.float32)
    logits[0, 7] = 20.0
    payload = encode_tensors(bundle.contract.reply, [logits])
    found = runtime.decode_reply(payload, ())
    assert found.labels == [7]
    assert found.confidence > 0.99
    with pytest.raises(CorruptPayloadError):
        runtime.decode_reply(payload[:-1], ())


def test_a_released_request_is_forgotten_and_releasing_twice_is_harmless(
    runtime: DeviceRuntime,
) -> None:
    runtime.release(1)
    runtime.release(1)
    with pytest.raises(KeyError):
        runtime.run(1, RunSegments(0, 1))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((30, 32), np.uint8), r"prepared sample: 'x' has shape \(1, 1, 30, 32\)"),
        (np.zeros((32, 32, 3), np.uint8), r"shape \(1, 3, 32, 32\)"),
        (np.zeros((32, 32), np.float64), "dtype float64 is not accepted"),
        (np.zeros(9, np.uint8), "is not an image"),
    ],
)
def test_a_sample_that_does_not_fit_is_named(
    runtime: DeviceRuntime, bad: NDArray[Any], message: str
) -> None:
    runtime.start(2, lambda: bad)
    with pytest.raises(TensorMismatchError, match=message):
        runtime.run(2, Prepare())


def test_a_sample_that_cannot_be_read(runtime: DeviceRuntime) -> None:
    def unreadable() -> NDArray[Any]:
        raise ConfigError("cannot read the image x.png")

    runtime.start(2, unreadable)
    with pytest.raises(ConfigError, match=r"x\.png"):
        runtime.run(2, Prepare())


def test_an_output_that_is_not_finite_is_no_answer(bundle: Bundle, runtime: DeviceRuntime) -> None:
    logits = np.full((1, 10), np.nan, np.float32)
    payload = encode_tensors(bundle.contract.reply, [logits])
    with pytest.raises(ModelError, match="not finite"):
        runtime.decode_reply(payload, ())
