"""How predictions are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime.quantization", reason="the benchmark needs the extra build")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STAGES = 12


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def network() -> Any:
    from prediction import Network

    from splitnet.builder.prediction import CLASSES, Features

    rng = np.random.default_rng(0)
    shares = np.eye(len(CLASSES))[rng.integers(0, 3, STAGES)]
    flops, moved, weights = np.exp(rng.normal(14, 1, (3, STAGES)))
    features = Features(shares, flops, moved, weights, np.ones(STAGES))
    reference_s = flops / 1e10
    times_s = {"1 thread": reference_s, "slow": reference_s * (shares @ [1, 5, 2, 1, 1, 1])}
    return Network(features, np.linspace(1e5, 0, STAGES + 1), times_s, {"slow": 1.0})


def test_ranks_with_ties() -> None:
    from prediction import rank_correlation

    rising = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(rising, np.exp(rising)) == pytest.approx(1)
    assert rank_correlation(rising, -rising) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 2, 2, 3]), np.array([5.0, 7, 7, 9])) == pytest.approx(1)


def test_the_truth_loses_nothing(network: Any) -> None:
    from prediction import _regret

    truth = network.times_s["slow"]
    for rate_bps in (1e5, 1e7, 1e9):
        assert _regret(network, truth, truth, rate_bps) == 0
        assert _regret(network, truth, truth[::-1], rate_bps) >= 0


def test_a_judgement_names_the_rivals(network: Any) -> None:
    from prediction import _judge

    from splitnet.builder.prediction import PRIOR

    found = _judge(network, "slow", PRIOR)
    assert found["segments"] == STAGES
    assert found["predicted"]["rank"] > found["flops_only"]["rank"]
    assert found["predicted"]["median_error"] < found["one_factor"]["median_error"]
