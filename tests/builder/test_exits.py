"""Early exits: the form of heads, calibration, the threshold, a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from splitnet.builder.exits import (
    CLOSED,
    choose_threshold,
    fit_temperature,
    make_head,
    train_exit,
)
from splitnet.builder.training import Schedule
from splitnet.console import Silent
from splitnet.runtime.answers import max_softmax


@pytest.mark.parametrize(
    ("features", "output"),
    [
        ((16, 32, 32), (64, 10)),
        ((16, 8, 8), (64, 10)),
        ((3, 21, 17), (16, 4)),  # sides that are no multiple of the page
        ((16, 32, 32), (10,)),
        ((5, 7, 3), (10,)),
        ((4, 1, 1), (2,)),
        ((4, 4, 4), (7, 3)),  # seven labels are no square page
        ((4, 2, 2), (64, 10)),  # a map smaller than the page
        ((20,), (10,)),
        ((6, 20), (3,)),
    ],
)
def test_a_head_gives_the_form_of_the_output(
    features: tuple[int, ...], output: tuple[int, ...]
) -> None:
    head = make_head(features, output, budget_flops=1e6)
    assert head(torch.zeros(2, *features)).shape == (2, *output)


def test_a_page_head_looks_at_the_right_cell() -> None:
    head = make_head((1, 16, 16), (16, 2), budget_flops=1e6)
    page = torch.zeros(1, 1, 16, 16)
    blank = head(page)
    page[0, 0, 4:8, 8:12] = 1.0  # the third cell of the second row
    moved = (head(page) - blank).abs().sum(2)[0]
    assert int(moved.argmax()) == 6


def test_a_larger_budget_makes_a_wider_head_within_bounds() -> None:
    widths = [
        sum(p.numel() for p in make_head((16, 32, 32), (10,), budget).parameters())
        for budget in (0.0, 3e6, 1e12)
    ]
    assert widths[0] < widths[1] < widths[2]


def test_temperature_undoes_a_scale() -> None:
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([0.5] * 4, 4000)
    truth = np.array([rng.choice(4, p=p) for p in probability])[:, None]
    logits = np.log(probability + 1e-12).astype(np.float32)
    assert fit_temperature(logits, truth) == pytest.approx(1.0, rel=0.1)
    assert fit_temperature(3 * logits, truth) == pytest.approx(3.0, rel=0.1)
    pages = logits.reshape(-1, 4, 4)
    assert fit_temperature(pages, truth.reshape(-1, 4)) == fit_temperature(logits, truth)


def test_the_smallest_good_threshold() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    early = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    late = np.ones(5)
    for allowed, leave in [(0.0, 2), (0.2, 4), (0.4, 5)]:
        threshold = choose_threshold(confidence, early, late, allowed)
        assert (confidence >= threshold).sum() == leave


def test_equal_confidences_leave_together() -> None:
    threshold = choose_threshold(np.full(4, 0.5), np.array([1.0, 1, 1, 0]), np.ones(4), 0.1)
    assert threshold == CLOSED


_UNIT = st.floats(0, 1, width=32)


@given(arrays.arrays(np.float64, (20, 3), elements=_UNIT), st.floats(0, 0.3))
def test_a_threshold_keeps_its_promise(rows: np.ndarray, allowed: float) -> None:
    confidence, early, late = rows.T
    threshold = choose_threshold(confidence, early, late, allowed)
    leaves = confidence.astype(np.float32) >= np.float32(threshold)
    assert np.where(leaves, early, late).mean() >= late.mean() - allowed - 1e-9


def test_an_exit_learns_and_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (600, 1))
    features = rng.normal(0, 0.7, (600, 4)).astype(np.float32)
    features[np.arange(600), truth[:, 0]] += 2.0
    whole = np.eye(3, dtype=np.float32)[truth[:, 0]] * 9  # always right
    head = make_head((4,), (3,), 1e6)
    found = train_exit(
        head,
        (features[:400], truth[:400]),
        (features[400:], truth[400:]),
        whole[400:],
        0.02,
        Schedule(epochs=20),
        Silent(),
    )
    assert found.whole_score == 1.0 and 0.98 <= found.mixed_score <= 1.0
    assert 0.5 < found.share <= 1.0 and not found.closed
    with torch.inference_mode():
        logits = found.module(torch.from_numpy(features[400:])).numpy()
    leaves = max_softmax(logits, found.temperature) >= found.threshold
    assert leaves.mean() == pytest.approx(found.share)


def test_an_exit_that_knows_nothing_is_closed() -> None:
    rng = np.random.default_rng(1)
    features = np.zeros((200, 4), np.float32)
    truth = rng.integers(0, 5, (200, 1))
    whole = np.eye(5, dtype=np.float32)[truth[:, 0]]
    data = (features, truth)
    head = make_head((4,), (5,), 1e6)
    found = train_exit(head, data, data, whole, 0.005, Schedule(epochs=1), Silent())
    assert found.closed and found.share == 0.0 and found.mixed_score == 1.0
