"""Every stage measured before the first request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from splitnet.bundle import Bundle
from splitnet.errors import TensorMismatchError
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.emulation import Emulation, FactorStretcher
from splitnet.runtime.warmup import MAX_ROUNDS, MIN_ROUNDS, warm_up
from tests.sample_files import with_fused_head

SAMPLE = np.zeros((32, 32), np.uint8)


def clock(step_s: float) -> Iterator[float]:
    now_s = 0.0
    while True:
        yield now_s
        now_s += step_s


@pytest.mark.parametrize(("step_s", "rounds"), [(1.0, MIN_ROUNDS), (0.0, MAX_ROUNDS)])
def test_every_stage_is_timed_within_the_budget(
    files: Path, bundle: Bundle, step_s: float, rounds: int
) -> None:
    runtime = DeviceRuntime(files, bundle)
    ticks = clock(step_s)
    profile = warm_up(runtime, bundle, lambda: SAMPLE, clock=lambda: next(ticks))
    device = {key for key in bundle.advice.profiles[0].stages if not key.startswith("decode")}
    assert set(profile.stages) == device
    assert profile.facts["rounds"] == str(rounds)
    assert all(time.p50_s == time.p95_s == step_s for time in profile.stages.values())


def test_only_what_the_plans_need_is_opened(files: Path, bundle: Bundle, tmp_path: Path) -> None:
    directory, fused = with_fused_head(files, bundle, tmp_path)
    runtime = DeviceRuntime(directory, fused)
    profile = warm_up(runtime, fused, lambda: SAMPLE)
    assert set(runtime.open_files) == {"fused-0-2.onnx", "segment-2.onnx"}
    assert set(profile.stages) == {
        "prepare", "fused:0-2", "segment:2", "encode:c2@0", "encode:c2@1"
    }  # fmt: skip


def test_real_times_are_stretched_by_the_emulation(files: Path, bundle: Bundle) -> None:
    def total_s(emulation: Emulation) -> float:
        runtime = DeviceRuntime(
            files, bundle, stretcher=FactorStretcher(emulation, bundle.advice.costs)
        )
        profile = warm_up(runtime, bundle, lambda: SAMPLE, budget_s=0.0)
        assert all(0 < time.p50_s <= time.p95_s for time in profile.stages.values())
        return sum(time.p50_s for time in profile.stages.values())

    assert total_s(Emulation({"other": 20})) > 5 * total_s(Emulation())


def test_samples_that_do_not_fit_are_noticed_before_the_first_request(
    files: Path, bundle: Bundle
) -> None:
    runtime = DeviceRuntime(files, bundle)
    with pytest.raises(TensorMismatchError, match="prepared sample"):
        warm_up(runtime, bundle, lambda: SAMPLE[:30])
