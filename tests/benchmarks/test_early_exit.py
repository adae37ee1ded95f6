"""Early exits: what certified thresholds do on other samples, and a picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.training.certify import ExitScores, Promise, certify, threshold_path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEAVE_S, WHOLE_S = np.array([0.001, 0.005]), 0.004


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture(scope="module")
def scores() -> ExitScores:
    """One exit that is right as often as it is sure, on 4,800 samples."""
    rng = np.random.default_rng(0)
    doubt = rng.beta(0.3, 2.0, 4800)
    early, late = rng.random((2, 4800)) > [doubt, doubt / 3]
    return ExitScores(
        (1 - doubt)[np.newaxis].astype(np.float32),
        early[np.newaxis].astype(float),
        late.astype(float),
    )


def test_halves_and_splits(scores: ExitScores) -> None:
    import early_exit
    from splits import HALF, on_splits

    path, promise = threshold_path([1.0], 50), Promise(0.02)
    found = certify(scores.rows(np.arange(HALF)), path, promise)
    half = early_exit.on_other_half(scores, scores.late, found, LEAVE_S, WHOLE_S)
    assert sum(half["leaves"]) == pytest.approx(1.0)
    mean_s = LEAVE_S @ half["leaves"]
    assert half["speed_up_by_stages"] == pytest.approx(WHOLE_S / mean_s)
    rest = scores.late[HALF:].mean()
    assert 100 * (half["accuracy"] - rest) == pytest.approx(half["change_points"])
    costs = np.broadcast_to(LEAVE_S[:, None], (2, len(scores.late)))
    kept = on_splits(scores, path, promise, costs, 20)
    figures = kept.figures()
    assert 15 <= figures["holds"] <= figures["splits"] == 20
    assert np.median(WHOLE_S / kept.costs) > 1


def test_stops_are_judged_by_the_bytes_of_each_image(scores: ExitScores) -> None:
    import stops

    path = threshold_path([1.0], 50)
    costs = np.stack([np.full(len(scores.late), 100.0), np.arange(len(scores.late)) + 200.0])
    whole = np.ones(len(scores.late))
    found = stops.measure(scores, whole, path, 0.02, costs)
    assert 100 < found["bytes"] < found["bytes_of_all_parts"]
    assert 100 * (found["accuracy"] - 1) == pytest.approx(found["against_whole_points"])
    kept = stops.split_figures(scores, path, 0.02, costs, 3)
    assert kept["splits"] == 3 and 100 < kept["median_bytes"] < 2600


def test_targets() -> None:
    import early_exit

    def figures(speed_up: float, holds: int) -> dict[str, Any]:
        halves = [{"risk": risk, "speed_up": speed_up} for risk in early_exit.RISKS]
        return {
            "halves": [*halves, {"risk": 0.005}],
            "splits": [{"splits": 100, "holds": holds, "median_speed_up": 1.4}],
        }

    assert early_exit.targets_met(figures(2.0, 95))
    assert not early_exit.targets_met(figures(1.8, 95))
    assert not early_exit.targets_met(figures(2.0, 92))


def test_the_picture(scores: ExitScores, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import early_exit
    from exit_picture import draw

    curve = early_exit.trade_off("max-softmax", scores, threshold_path([1.0], 20), LEAVE_S, WHOLE_S)
    draw([curve], scores, ["early"], tmp_path / "deep" / "exits.png")
    assert (tmp_path / "deep" / "exits.png").stat().st_size > 10_000
