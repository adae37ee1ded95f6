"""Postprocess graphs against what numpy makes of the same outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.nms import yolox_grid
from splitnet.builder.places import NONE
from splitnet.builder.postprocess import check_fit, parse_postprocess, write_postprocess
from splitnet.builder.verification import verify_bundle
from splitnet.bundle import Boundary, Postprocess
from splitnet.console import Silent
from splitnet.errors import BundleError, ConfigError, ModelError, WireCode
from splitnet.machines.agent_io import LocalResult, Prepare, RunSegments
from splitnet.machines.worker_io import BatchItem, RunBatch
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.samples import read_npz
from splitnet.runtime.sessions import Graph
from splitnet.runtime.worker import WorkerRuntime
from splitnet.values import TensorSpec

SIDE = 64
IMAGE = TensorSpec("x", "float32", ("N", 3, SIDE, SIDE))
COUNT = 84
"""Boxes of YOLOX for 64x64 pixels: 8x8, 4x4 and 2x2."""

CLASSES = 3
DETECTOR = TensorSpec("y", "float32", ("N", COUNT, 5 + CLASSES))


def written(text: str, output: TensorSpec, out: Path) -> Graph:
    ends = [Boundary("input", (IMAGE,)), Boundary("output", (output,))]
    post = write_postprocess(parse_postprocess(text), ends, out)
    assert isinstance(post, Postprocess)
    return Graph(out / post.graph.file)


def detections(count: int, seed: int = 0) -> NDArray[Any]:
    """Random raw boxes, many of which overlap, a few of them sure."""
    chance = np.random.default_rng(seed)
    raw = chance.normal(0, 0.5, (count, COUNT, 5 + CLASSES)).astype(np.float32)
    raw[..., 2:4] += 1
    raw[..., 4:] = chance.uniform(0, 1, (count, COUNT, 1 + CLASSES)) ** 2
    return raw


def suppressed(raw: NDArray[Any], score: float, iou: float, most: int) -> NDArray[Any]:
    """Return the boxes of one sample as a loop finds them."""
    grid, stride = yolox_grid((SIDE, SIDE))
    centre, size = (raw[:, :2] + grid) * stride, np.exp(raw[:, 2:4]) * stride
    box = np.clip(np.concatenate([centre - size / 2, centre + size / 2], axis=1), 0, SIDE)
    label, sure = raw[:, 5:].argmax(axis=1), raw[:, 4] * raw[:, 5:].max(axis=1)
    kept: list[int] = []
    for i in np.argsort(-sure, kind="stable"):
        rivals = [k for k in kept if label[k] == label[i]]
        if sure[i] > score and all(overlap(box[i], box[k]) <= iou for k in rivals):
            kept.append(int(i))
    rows = [[*box[i], sure[i], label[i]] for i in kept[:most]]
    return np.array(rows + [[0.0] * 6] * (most - len(rows)), np.float32)


def overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
    common = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))


@pytest.mark.parametrize("most", [5, 100])
def test_boxes_are_those_of_a_loop(tmp_path: Path, most: int) -> None:
    raw = detections(4)
    raw[2, :, 4] = 0  # nothing is found in this one
    graph = written(f"nms=max:{most}", DETECTOR, tmp_path)
    (found,) = graph.run([raw])
    assert found.shape == (4, most, 6)
    for one, boxes in zip(raw, found, strict=True):
        assert np.allclose(boxes, suppressed(one, 0.3, 0.45, most), atol=1e-3)
        assert np.array_equal(graph.run([one[np.newaxis]])[0][0], boxes)
    assert (found[0, :, 4] > 0).sum() == min(most, (found[0, :, 4] > 0).sum()) > 1


def test_boxes_that_are_decoded_already(tmp_path: Path) -> None:
    raw = detections(1)
    grid, stride = yolox_grid((SIDE, SIDE))
    decoded = raw.copy()
    decoded[..., :2], decoded[..., 2:4] = (
        (raw[..., :2] + grid) * stride,
        np.exp(raw[..., 2:4]) * stride,
    )
    (expected,) = written("nms", DETECTOR, tmp_path / "a").run([raw])
    (found,) = written("nms=boxes:centre", DETECTOR, tmp_path / "b").run([decoded])
    assert np.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("dims", [("N", 7), ("N", 4, 7)])
def test_the_likeliest_labels(tmp_path: Path, dims: Sequence[int | str]) -> None:
    output = TensorSpec("y", "float32", tuple(dims))
    logits = np.random.default_rng(0).normal(size=output.shape(3)).astype(np.float32)
    (chances,) = written("softmax", output, tmp_path / "a").run([logits])
    assert np.allclose(chances.sum(axis=-1), 1, atol=1e-6)
    found, first = written("top-k=2", output, tmp_path / "b").run([logits])
    assert found.dtype == np.int32
    assert np.array_equal(found, np.argsort(-logits, axis=-1)[..., :2])
    assert np.allclose(first, -np.sort(-chances, axis=-1)[..., :2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topk=5", "unknown postprocess 'topk'.*did you mean 'top-k'"),
        ("top-k", r"k: is missing"),
        ("top-k=many", "is 'many'"),
        ("softmax=2", "unknown key"),
        ("nms=score:2", "score: must be a number from 0 to 1, is 2"),
        ("nms=overlap:0.5", "overlap: unknown key"),
    ],
)
def test_a_text_that_is_not_understood(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_postprocess(text)


@pytest.mark.parametrize(
    ("text", "dims", "message"),
    [
        ("nms", ("N", 10), r"\(N, boxes, 5 \+ classes\).*is needed"),
        ("nms", ("N", "B", 8), "is needed"),
        ("nms", ("N", 100, 8), "100 boxes of 64x64 pixels, YOLOX makes 84; give boxes:centre"),
        ("nms", ("N", 84, 5), "is needed"),
        ("top-k=11", ("N", 10), "knows 10 classes"),
        ("softmax", ("N", 2, 3, 4), r"\(N, classes\) or"),
        ("softmax", ("N", "C"), r"\(N, classes\) or"),
    ],
)
def test_a_model_that_it_cannot_follow(text: str, dims: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_fit(parse_postprocess(text), [IMAGE], [TensorSpec("y", "float32", dims)])


def test_several_outputs_and_whole_numbers() -> None:
    output = TensorSpec("y", "int64", ("N", 10))
    for outputs in ([output], [DETECTOR, DETECTOR]):
        with pytest.raises(ModelError, match="a single one of float32 is needed"):
            check_fit({"op": "softmax"}, [IMAGE], outputs)


@pytest.fixture(scope="module")
def top(built: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A bundle whose answers are the two likeliest labels."""
    out = tmp_path_factory.mktemp("top") / "bundle"
    config = replace(
        built, out=out, exit_at="stage1", bottleneck_at=NONE, postprocess="top-k=2", epochs=1
    )
    summary = build(config, Silent())
    assert summary["postprocess"] == {"op": "top-k", "k": 2}
    return config


def test_device_and_worker_give_the_same_answer(top: BuildConfig) -> None:
    bundle, samples = open_bundle(top.out), read_npz(Path(top.data))
    device, worker = DeviceRuntime(top.out, bundle), WorkerRuntime(top.out, bundle)
    end = len(bundle.contract.segments)
    items = []
    for request in range(3):
        sample = samples.load(request)
        device.start(request, lambda sample=sample: sample)  # type: ignore[misc]
        device.run(request, Prepare())
        items.append(BatchItem("input", 0, sample_payload(bundle.contract, sample), ()))
    _, _, results = worker.run(RunBatch(0, 0, 0, end, tuple(items)))
    for request, result in enumerate(results):
        local = device.run(request, RunSegments(0, end))
        assert isinstance(local, LocalResult) and isinstance(result.payload, bytes)
        assert len(result.payload) == 4 + 2 * 8  # two tensors of two values
        far = device.decode_reply(result.payload, result.dims)
        assert far == local.answer
        assert far.details is not None and len(far.details[0]) == 2


def sample_payload(contract: Any, sample: NDArray[Any]) -> bytes:
    from splitnet.runtime.preprocess import prepare

    return prepare(sample, contract.preprocess).tobytes()


def test_postprocessing_does_not_hide_what_is_not_finite(top: BuildConfig) -> None:
    bundle = open_bundle(top.out)
    spec = bundle.contract.inputs[0]
    good, bad = (np.full(spec.shape(1), value, np.float32).tobytes() for value in (0.5, np.nan))
    items = tuple(BatchItem("input", 0, payload, ()) for payload in (good, bad))
    end = len(bundle.contract.segments)
    _, _, results = WorkerRuntime(top.out, bundle).run(RunBatch(0, 0, 0, end, items))
    assert results[0].payload is not None
    assert results[1].code is WireCode.BAD_TENSOR and "not finite" in results[1].message


def test_scores_do_not_change_and_golden_vectors_hold(top: BuildConfig, built: BuildConfig) -> None:
    before, after = (open_bundle(config.out).table for config in (built, top))
    assert np.array_equal(before.paths["stage1", 0].score, after.paths["stage1", 0].score)
    assert np.allclose(before.paths["stage1", 0].confidence, after.paths["stage1", 0].confidence)
    report = verify_bundle(top.out, None, Silent())
    assert report.ok
    assert "postprocess (golden)" in [check.what for check in report.checks]


def test_a_damaged_postprocess_graph_is_named(top: BuildConfig, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(top.out, tmp_path / "bundle")
    with (tmp_path / "bundle" / "postprocess.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"postprocess\.onnx"):
        verify_bundle(tmp_path / "bundle", None, Silent())


@pytest.mark.parametrize(
    ("postprocess", "error", "message"),
    [
        ("nns", ConfigError, "unknown postprocess 'nns'"),
        ("nms", ModelError, r"\(N, boxes, 5 \+ classes\)"),
        ("top-k=4", ModelError, "knows 3 classes"),
    ],
)
def test_nothing_is_left_of_a_step_that_does_not_fit(
    built: BuildConfig, tmp_path: Path, postprocess: str, error: type[Exception], message: str
) -> None:
    config = replace(built, out=tmp_path / "bundle", postprocess=postprocess)
    with pytest.raises(error, match=message):
        build(config, Silent())
    assert not list(tmp_path.iterdir())
