"""The pretrained networks: a bundle's boundaries, proven with fused runs and batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder.boundaries import choose_boundaries
from splitnet.builder.cuts import find_cuts, input_bytes
from splitnet.builder.model import SourceModel, source_from_torch
from splitnet.builder.segments import export_segments
from splitnet.runtime.sessions import Graph

Array: TypeAlias = NDArray[Any]

pytestmark = [pytest.mark.data, pytest.mark.slow]

MOBILE = {
    "mobilenet_v1_0.25_128": 128,
    "mobilenet_v1_0.5_160": 160,
    "mobilenet_v1_0.75_192": 192,
    "mobilenet_v2_1.0_224": 224,
}


def prove(model: SourceModel, batch: Array, folder: Path) -> int:
    """Export a model at the boundaries that a bundle would keep, and compare the chain."""
    cuts = find_cuts(model.graph)
    chosen = [c.cut for c in choose_boundaries(cuts, input_bytes=input_bytes(model.graph))]
    exported = export_segments(model, chosen, folder, fused=[(0, len(chosen))])
    expected = model.reference([batch])[0]
    limit = 1e-4 * np.abs(expected).max()
    tensors, boundaries = [batch], []
    for segment in exported.segments:
        tensors = Graph(folder / segment.ref.file).run(tensors)
        boundaries.append(tensors)
    assert np.abs(tensors[0] - expected).max() <= limit
    (fused,) = exported.fused.values()
    for found, wanted in zip(
        Graph(folder / fused.ref.file).run([batch]), boundaries[len(chosen) - 1], strict=True
    ):
        assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    return len(chosen)


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_cifar_resnet(data_models: Any, tmp_path: Path, depth: int) -> None:
    x, _ = data_models.cifar10()
    batch = data_models.cifar_input(x[:8]).numpy()
    model = source_from_torch(f"resnet{depth}", data_models.cifar_resnet(depth), [batch[:1]])
    assert prove(model, batch, tmp_path) >= 9


@pytest.mark.parametrize("name", MOBILE)
def test_mobilenet(data_models: Any, tmp_path: Path, name: str) -> None:
    files = [file for file, _ in data_models.imagenet_val()[:2]]
    batch = np.stack([data_models.imagenet_input(file, MOBILE[name]) for file in files])
    model = source_from_torch(name, data_models.mobilenet(name), [batch[:1]])
    assert prove(model, batch, tmp_path) >= 8


@pytest.mark.filterwarnings("ignore")  # those of transformers
def test_stories260k(data_models: Any, tmp_path: Path, next_token: Callable[[Any], Any]) -> None:
    transformers = pytest.importorskip("transformers")
    weights = Path(data_models.__file__).parent / "weights" / "stories260k"
    network = next_token(transformers.LlamaForCausalLM.from_pretrained(weights))
    ids = np.array([[1, 403, 407, 261, 378]])
    model = source_from_torch("stories260k", network, [ids], [{1: "T"}])
    assert model.graph.outputs[0].dims == ("N", "T", 512)
    assert prove(model, np.array([[1, 403, 407], [1, 261, 378]]), tmp_path) >= 5


@pytest.fixture
def next_token() -> Callable[[Any], Any]:
    """Return the wrapper of zoo.py that takes whole numbers only."""
    import importlib.util

    path = Path(__file__).with_name("zoo.py")
    spec = importlib.util.spec_from_file_location("builder_tests_zoo", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wrapper: Callable[[Any], Any] = module.NextToken
    return wrapper
