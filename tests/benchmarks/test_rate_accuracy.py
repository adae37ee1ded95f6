"""The whole benchmark with few images, on the real network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
IMAGES = 24

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("SPLITNET_DATA" not in os.environ, reason="SPLITNET_DATA is not set"),
]


def test_every_curve_has_rows_and_what_is_missing_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import rate_accuracy
    import rate_networks

    few = rate_accuracy.Size(IMAGES, 1, (40, 95), (8, 2))
    monkeypatch.setattr(rate_accuracy, "SMALL", few)
    monkeypatch.setattr(rate_accuracy, "LAYERS", ("layer3",))
    monkeypatch.setattr(rate_networks, "FITTING_IMAGES", 16)
    right = np.arange(IMAGES) < np.array([[12], [IMAGES]])
    np.savez(tmp_path / "own.npz", score=right, nbytes=np.full((2, IMAGES), [[90], [300]]))
    options = ["--keep", str(tmp_path / "keep"), "--json", str(tmp_path / "found.json")]
    options += ["--learned", str(tmp_path / "own.npz"), "--picture", str(tmp_path / "found.png")]
    monkeypatch.setattr("sys.argv", ["rate_accuracy.py", "--small", *options])
    assert rate_accuracy.main() == 0

    found = json.loads((tmp_path / "found.json").read_text())
    curves = {row["curve"] for row in found["rows"]}
    assert {"jpeg as is", "webp as is, without container", "activations of layer3", "own"} <= curves
    assert found["skipped"] == [
        f"{codec} fine-tuned: no --fine-tuned with {codec}" for codec in ("jpeg", "webp")
    ]
    assert found["container_bytes"] == {"jpeg": 641, "webp": 56}
    assert 0.99 < found["device_share"]["layer3"] <= 1
    assert all("change" in row for row in found["bd_rate"])
    assert (tmp_path / "found.png").stat().st_size > 0
