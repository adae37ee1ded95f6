"""Times of stages from times elsewhere and a few samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder.prediction import (
    CLASSES,
    Features,
    Predictor,
    StagePredictor,
    stage_features,
)
from splitnet.bundle import Advice, Bundle, FusedRun, Work
from splitnet.errors import ConfigError
from splitnet.values import StageTime, fused_stage, segment_stage

STAGES = 40


@pytest.fixture
def features() -> Features:
    rng = np.random.default_rng(0)
    shares = np.eye(len(CLASSES))[rng.integers(0, 4, STAGES)]
    flops, moved, weights = np.exp(rng.normal(14, 1.5, (3, STAGES)))
    return Features(shares, flops, moved, weights, rng.integers(1, 6, STAGES).astype(np.float64))


@pytest.fixture
def reference_s(features: Features) -> NDArray[np.float64]:
    return features.flops / 1e9 + 1e-5


def predict(
    features: Features, reference_s: NDArray[np.float64], truth: NDArray[np.float64], count: int
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    predictor = Predictor(features, reference_s)
    chosen = predictor.choose(count)
    return chosen, *predictor.predict({i: float(truth[i]) for i in chosen})


def test_one_factor_for_all(features: Features, reference_s: NDArray[np.float64]) -> None:
    _, found, _ = predict(features, reference_s, 7 * reference_s, 3)
    assert np.allclose(found, 7 * reference_s, rtol=0.05)


def test_a_factor_for_each_class(features: Features, reference_s: NDArray[np.float64]) -> None:
    truth = reference_s * (features.shares @ [2.0, 12.0, 1.0, 4.0, 1.0, 1.0])
    _, found, _ = predict(features, reference_s, truth, 10)
    assert np.median(np.abs(found / truth - 1)) < 0.05
    assert np.max(np.abs(np.log(found / truth))) < 0.3


def test_samples_stand_as_they_are(features: Features, reference_s: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(1)
    truth = reference_s * rng.uniform(1, 3, STAGES)
    chosen, found, std = predict(features, reference_s, truth, 10)
    assert np.array_equal(found[chosen], truth[chosen])
    assert set(np.flatnonzero(std == 0)) == set(chosen)
    assert len(set(chosen)) == 10


def test_more_samples_leave_less_doubt(
    features: Features, reference_s: NDArray[np.float64]
) -> None:
    doubt = [predict(features, reference_s, reference_s, n)[2].mean() for n in (3, 6, 10, 20)]
    assert doubt == sorted(doubt, reverse=True)


def test_the_doubt_is_honest(features: Features, reference_s: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(20):
        ratio = features.shares @ np.exp(rng.normal(1, 1.0, len(CLASSES)))
        truth = reference_s * ratio * np.exp(rng.normal(0, 0.08, STAGES))
        _, found, std = predict(features, reference_s, truth, 10)
        unmeasured = std > 0
        inside.append(np.abs(np.log(found / truth))[unmeasured] <= 2 * std[unmeasured])
    assert np.mean(inside) > 0.9


def test_only_what_can_be_measured_is_chosen(
    features: Features, reference_s: NDArray[np.float64]
) -> None:
    predictor = Predictor(features, reference_s)
    assert set(predictor.choose(10, [3, 4, 5])) == {3, 4, 5}


def test_the_stages_of_a_bundle(sample_bundle: Bundle) -> None:
    advice = with_work(sample_bundle.advice)
    predictor = StagePredictor(advice, advice.profiles[0])
    chosen = predictor.choose(4, set(advice.profiles[0].stages))
    assert len(chosen) == 4 and set(chosen) < set(advice.profiles[0].stages)
    slow = {
        stage: StageTime(3 * time.p50_s, 6 * time.p50_s)
        for stage, time in advice.profiles[0].stages.items()
        if stage in chosen
    }
    found = predictor.predict(slow)
    assert found.stages.keys() == advice.profiles[0].stages.keys()
    assert found.measured == set(chosen) and 0 < found.error < 1
    for stage, time in found.stages.items():
        assert time.p50_s == pytest.approx(3 * advice.profiles[0].stages[stage].p50_s, rel=0.1)
        assert time.p95_s == pytest.approx(2 * time.p50_s)


def test_a_fused_head_is_the_sum_of_its_segments(sample_bundle: Bundle) -> None:
    advice = with_work(sample_bundle.advice)
    run = FusedRun(0, 2, advice.exits[0].graph)
    work = {**advice.work, fused_stage(0, 2): Work(4, 5000, 1000)}
    costs = {**advice.costs, segment_stage(1): {"depthwise": 1.0}}
    found = stage_features(
        replace(advice, fused=(run,), work=work, costs=costs), [fused_stage(0, 2)]
    )
    assert found.flops.tolist() == [3_000_000]
    assert found.shares[0] == pytest.approx([1 / 3, 2 / 3, 0, 0, 0, 0])


def test_without_static_features_there_is_no_prediction(sample_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="does not say what work"):
        StagePredictor(sample_bundle.advice, sample_bundle.advice.profiles[0])


def with_work(advice: Advice) -> Advice:
    stages = advice.profiles[0].stages
    work = {stage: Work(2, 1000 * (i + 1), 500) for i, stage in enumerate(stages)}
    kind = {stage: "conv" if stage == segment_stage(0) else "codec" for stage in stages}
    return replace(advice, work=work, costs={stage: {kind[stage]: 1.0} for stage in stages})
