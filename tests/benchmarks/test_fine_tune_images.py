"""Weights between those before and after fine-tuning, and images that went through a codec."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the benchmark needs the extra build")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_share_of_what_was_learned() -> None:
    from fine_tune_images import blend

    before = {"w": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
    after = {"w": torch.tensor([2.0, 0.0]), "count": torch.tensor(9)}
    found = {share: blend(before, after, share) for share in (0.0, 0.25, 1.0)}
    assert all(list(state) == ["w"] for state in found.values())
    assert [state["w"].tolist() for state in found.values()] == [[0, 4], [0.5, 3], [2, 0]]


def test_qualities_are_drawn_with_the_seed() -> None:
    from fine_tune_images import Compressor

    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    first, again, other = (
        Compressor("webp", low, 60)(images, np.random.default_rng(seed))
        for low, seed in ((20, 1), (20, 1), (60, 1))
    )
    assert first.shape == images.shape and np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("SPLITNET_DATA" not in os.environ, reason="SPLITNET_DATA is not set")
def test_two_batches_make_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fine_tune_images
    from activations import shared_models

    shared = shared_models()
    images, truth = shared.cifar10("train_0")
    monkeypatch.setattr(shared, "cifar10", lambda split: (images[:144], truth[:144]))
    monkeypatch.setattr(fine_tune_images, "TRAINING_IMAGES", 128)
    out = tmp_path / "tuned" / "webp.safetensors"
    options = ["webp", "--epochs", "1", "--out", str(out), "--json", str(tmp_path / "found.json")]
    monkeypatch.setattr("sys.argv", ["fine_tune_images.py", *options])
    assert fine_tune_images.main() == 0
    assert out.exists() and out.with_stem("webp-averaged").exists()
    (epoch,) = json.loads((tmp_path / "found.json").read_text())["epochs"]
    assert epoch["loss"] > 0 and 0 <= epoch["held_out"] <= 1
