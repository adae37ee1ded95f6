"""Networks behind one encoder, beside those with their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_scores_between_levels_are_mixed_image_by_image() -> None:
    from tails import Levels

    score = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    levels = Levels(("few", "many"), score, np.array([100.0, 400.0]))
    assert levels.at(100.0).tolist() == [0.0, 0.0, 1.0]
    assert levels.at(200.0) == pytest.approx([0.0, 0.5, 1.0])
    assert levels.at(400.0).tolist() == [0.0, 1.0, 1.0]
    assert levels.at(50.0) == pytest.approx([0.0, -0.5, 1.0])
