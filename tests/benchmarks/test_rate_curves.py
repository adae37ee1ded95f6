"""Bytes against accuracy: intervals, bytes at a loss and Bjontegaard's mean."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SAMPLES = 1000


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def curve(name: str, settings: dict[int, int]) -> Any:
    """Return a curve of `SAMPLES` samples from bytes and the number of right answers."""
    from rate_curves import Curve, Point

    points = [
        Point(f"{nbytes}", np.arange(SAMPLES) < right, np.full(SAMPLES, nbytes))
        for nbytes, right in settings.items()
    ]
    return Curve(name, tuple(points))


def test_a_paired_interval_is_that_of_the_differences() -> None:
    from paired import paired_change

    reference = np.arange(SAMPLES) < 900
    assert paired_change(reference, reference) == (0.0, 0.0)
    found = paired_change(np.arange(SAMPLES) < 890, reference)
    assert found.points == pytest.approx(-1)
    assert found.interval == pytest.approx(196 * np.sqrt(0.01 * 0.99 / (SAMPLES - 1)))


def test_a_paired_interval_covers_the_truth() -> None:
    from paired import paired_change

    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        reference = rng.random(SAMPLES) < 0.9
        right = np.where(rng.random(SAMPLES) < 0.05, ~reference, reference)
        change = paired_change(right, reference)
        covered += abs(change.points - (0.05 * 10 - 0.05 * 90)) <= change.interval
    assert 370 <= covered <= 392


def test_one_sample_tells_nothing() -> None:
    from paired import paired_change

    assert paired_change(np.array([True]), np.array([False])).interval == np.inf


def test_a_front_leaves_out_what_costs_more_and_gives_less() -> None:
    from rate_curves import front

    found = front([100, 300, 200, 200, 400], [-3.0, -2.0, -1.0, -1.5, -1.0])
    assert found == [(100, -3.0), (200, -1.0)]


def test_bytes_between_two_settings() -> None:
    from rate_curves import bytes_at

    found = [(100.0, -2.0), (400.0, -1.0)]
    assert bytes_at(found, -1.5) == pytest.approx(200)
    assert bytes_at(found, -1.0) == pytest.approx(400)
    assert isnan(bytes_at(found, -0.5)) and isnan(bytes_at(found, -2.1)) and isnan(bytes_at([], 0))


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_constant_factor_is_found_exactly(factor: float) -> None:
    from rate_curves import bd_rate

    other = [(100.0, -6.0), (180.0, -3.0), (390.0, -1.0), (700.0, -0.2)]
    own = [(factor * nbytes, accuracy) for nbytes, accuracy in other]
    found = bd_rate(own, other)
    assert found.change == pytest.approx(factor - 1)
    assert (found.worst, found.best, found.reason) == (-6.0, -0.2, "")


def test_straight_lines_by_hand() -> None:
    from rate_curves import bd_rate

    own, other = [(10.0, 0.0), (1000.0, 2.0)], [(100.0, 1.0), (10000.0, 3.0)]
    found = bd_rate(own, other)
    assert (found.worst, found.best) == (1.0, 2.0)
    assert found.change == pytest.approx(0.0)
    assert bd_rate([(10.0, 1.0), (100.0, 3.0)], other).change == pytest.approx(10**-1.5 - 1)


def test_it_changes_sign_with_the_sides() -> None:
    from rate_curves import bd_rate

    own, other = [(90.0, -5.0), (200.0, -2.0), (330.0, 0.0)], [(100.0, -6.0), (700.0, -0.5)]
    there, back = bd_rate(own, other), bd_rate(other, own)
    assert (1 + there.change) * (1 + back.change) == pytest.approx(1)


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ([(10.0, -9.0), (20.0, -7.0)], "no range in common: -9.00 to -7.00 and -6.00 to -1.00"),
        ([(10.0, -2.0)], "the curve has 1 settings"),
        ([], "the curve has 0 settings"),
    ],
)
def test_no_figure_has_a_reason(own: list[tuple[float, float]], reason: str) -> None:
    from rate_curves import bd_rate

    found = bd_rate(own, [(100.0, -6.0), (300.0, -1.0)])
    assert isnan(found.change) and found.reason.startswith(reason)


def test_the_bootstrap_encloses_the_figure() -> None:
    from rate_curves import compare

    own = curve("own", {50: 850, 100: 890, 200: 900})
    other = curve("other", {100: 850, 200: 890, 400: 900})
    whole = np.arange(SAMPLES) < 905
    found = compare(own, other, whole)
    assert found.change == pytest.approx(-0.5)
    assert found.low <= found.change <= found.high
    assert compare(own, other, whole) == found


def test_rows_stand_beside_their_intervals() -> None:
    from rate_curves import rows_of

    whole = np.arange(SAMPLES) < 905
    first, second = rows_of(curve("own", {200: 900, 100: 850}), whole)
    assert (first["bytes"], second["bytes"]) == (100.0, 200.0)
    assert (second["accuracy"], second["change_points"]) == (90.0, -0.5)
    assert second["interval_points"] > 0


def test_a_curve_on_some_samples() -> None:
    found = curve("own", {100: 500}).at(np.arange(400, 600))
    assert len(found.points[0].right) == 200 and found.points[0].right.mean() == 0.5
