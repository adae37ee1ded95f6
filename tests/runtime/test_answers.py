"""Labels, confidences and scores, for one label and for a page of them."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet import registry
from splitnet.errors import TensorMismatchError, UnknownNameError
from splitnet.runtime.answers import (
    absence,
    entropy,
    labels,
    load_confidence,
    margin,
    max_softmax,
    nothing_of_interest,
    score,
)

LOGITS = np.log(np.array([[1.0, 1.0, 2.0], [8.0, 1.0, 1.0]], np.float32))


def test_one_label_a_sample() -> None:
    assert labels(LOGITS).tolist() == [[2], [0]]
    np.testing.assert_allclose(max_softmax(LOGITS), [0.5, 0.8], rtol=1e-6)


def test_a_page_is_as_sure_as_its_least_sure_label() -> None:
    page = LOGITS[np.newaxis]
    assert labels(page).tolist() == [[2, 0]]
    np.testing.assert_allclose(max_softmax(page), [0.5], rtol=1e-6)


def test_temperature_and_extremes() -> None:
    assert max_softmax(LOGITS, 100.0) == pytest.approx([1 / 3, 1 / 3], abs=0.01)
    assert max_softmax(np.array([[1e4, -1e4]], np.float32)).tolist() == [1.0]
    assert np.isnan(max_softmax(np.array([[np.nan, 0.0]], np.float32))).all()


def test_scores() -> None:
    assert score(labels(LOGITS), np.array([2, 1])).tolist() == [1.0, 0.0]
    assert score(labels(LOGITS[np.newaxis]), np.array([[2, 1]])).tolist() == [0.5]
    with pytest.raises(TensorMismatchError, match="gives 1 labels a sample, the data has 2"):
        score(labels(LOGITS), np.zeros((2, 2), np.int64))


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3, 4)])
def test_an_output_without_labels(shape: tuple[int, ...]) -> None:
    with pytest.raises(TensorMismatchError, match="has no labels"):
        labels(np.zeros(shape))


def test_confidences_are_looked_up_by_name() -> None:
    assert load_confidence("max-softmax") is max_softmax
    with pytest.raises(UnknownNameError, match="did you mean 'max-softmax'"):
        load_confidence("max-softmx")


def test_nothing_of_interest() -> None:
    np.testing.assert_allclose(absence(LOGITS), [0.25, 0.8], rtol=1e-6)
    assert nothing_of_interest(np.array([1, 2, 3]), (2, 5)).tolist() == [True, False, True]
    page = np.array([[0, 5], [0, 1]])
    assert nothing_of_interest(page, (2, 5)).tolist() == [False, True]
    assert nothing_of_interest(page, ()).tolist() == [False, False]


def test_entropy_and_margin() -> None:
    p = np.array([[0.25, 0.25, 0.5], [0.8, 0.1, 0.1]])
    np.testing.assert_allclose(entropy(LOGITS), 1 + (p * np.log(p)).sum(1) / np.log(3), rtol=1e-6)
    np.testing.assert_allclose(margin(LOGITS), [0.25, 0.7], rtol=1e-6)


@pytest.mark.parametrize("name", registry.names("confidences"))
def test_every_confidence_goes_from_0_to_1(name: str) -> None:
    confidence = load_confidence(name)
    sure = np.array([[1e4, -1e4, 0.0]], np.float32)
    assert confidence(sure, 1.0).tolist() == [1.0]
    assert 0 <= confidence(np.zeros((1, 3), np.float32), 1.0)[0] <= 1 / 3 + 1e-12
    page = np.stack([LOGITS, LOGITS[::-1]])
    assert confidence(page, 2.0).tolist() == [confidence(LOGITS, 2.0).min()] * 2
    assert confidence(np.zeros((2, 4, 1), np.float32), 1.0).tolist() == [1.0, 1.0]
    assert np.isnan(confidence(np.array([[np.nan, 0.0]], np.float32), 1.0)).all()
