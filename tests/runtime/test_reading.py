"""What answers mean, in each of their forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.bundle import Bundle
from splitnet.runtime.answers import max_softmax
from splitnet.runtime.reading import (
    Boxes,
    Likeliest,
    Logits,
    Probabilities,
    Reading,
    Tensors,
    answer_form,
    output_form,
)
from splitnet.values import TensorSpec

PAGE = np.array([[[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]], np.float32)


def boxes(*rows: tuple[float, ...], room: int = 4) -> NDArray[Any]:
    found = np.zeros((1, room, 6), np.float32)
    found[0, : len(rows)] = np.array(rows, np.float32).reshape(-1, 6)
    return found


CAT = (0.0, 0.0, 10.0, 10.0, 0.9, 1.0)
DOG = (20.0, 20.0, 30.0, 30.0, 0.5, 2.0)


def test_logits_are_labels() -> None:
    form = Logits()
    assert form.read([PAGE]) == Reading([1, 0], float(max_softmax(PAGE)[0]))
    assert form.truth([PAGE]).tolist() == [[1, 0]]
    assert form.score([PAGE], np.array([[1, 2]])).tolist() == [0.5]


def test_probabilities_are_not_softmaxed_again() -> None:
    chances = np.array([[[0.1, 0.7, 0.2], [0.6, 0.2, 0.2]]], np.float32)
    found = Probabilities().read([chances])
    assert found.labels == [1, 0]
    assert found.confidence == pytest.approx(0.6)


@pytest.mark.parametrize("page", [False, True])
def test_the_likeliest_labels_come_with_their_probabilities(page: bool) -> None:
    kept, chances = np.array([[4, 2]], np.int32), np.array([[0.75, 0.125]], np.float32)
    answer = [part[:, np.newaxis] if page else part for part in (kept, chances)]
    found = Likeliest().read(answer)
    assert found == Reading([4], 0.75, [[[4, 0.75], [2, 0.125]]])
    assert Likeliest().score(answer, np.array([4])).tolist() == [1.0]


def test_boxes_are_read_up_to_the_last_one() -> None:
    found = Boxes().read([boxes(CAT, DOG)])
    assert found.labels == [1, 2]
    assert found.confidence == pytest.approx(0.7)
    assert found.details is not None
    assert found.details[1][:4] == [20.0, 20.0, 30.0, 30.0] and found.details[1][5] == 2
    assert Boxes().read([boxes()]) == Reading([], 0.0, [])


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ([CAT, DOG], [CAT, DOG], 1.0),
        ([CAT], [CAT, DOG], 2 / 3),
        ([CAT, DOG], [CAT], 2 / 3),
        ([CAT], [DOG], 0.0),
        ([CAT], [], 0.0),
        ([], [CAT], 0.0),
        ([], [], 1.0),
        ([CAT], [(*CAT[:5], 2.0)], 0.0),
        ([CAT, CAT], [CAT], 2 / 3),  # one partner only
        ([(0.0, 0.0, 10.0, 6.0, 0.4, 1.0)], [CAT], 1.0),
        ([(0.0, 0.0, 10.0, 4.0, 0.4, 1.0)], [CAT], 0.0),
    ],
)
def test_boxes_score_by_those_found_again(found: Any, wanted: Any, expected: float) -> None:
    form = Boxes()
    truth = form.truth([boxes(*wanted)])
    assert form.score([boxes(*found)], truth).tolist() == [pytest.approx(expected)]


def test_other_tensors_score_by_their_difference() -> None:
    form, whole = Tensors(), [np.array([[3.0, -1.0]]), np.array([[[4]]], np.int64)]
    truth = form.truth(whole)
    assert form.score(whole, truth).tolist() == [1.0]
    assert form.score([whole[0] + 1, whole[1]], truth).tolist() == [pytest.approx(0.75)]
    assert form.score([whole[0] * 100, whole[1]], truth).tolist() == [0.0]
    assert form.read(whole) == Reading([], 1.0)


def test_the_form_follows_from_the_contract(sample_bundle: Bundle) -> None:
    assert isinstance(answer_form(sample_bundle.contract), Logits)
    assert isinstance(output_form([TensorSpec("y", "float32", ("N", 2, 4, 4))]), Tensors)
    assert isinstance(output_form([TensorSpec("y", "float32", ("N",))]), Tensors)
