"""Labels that suit the answers of a model, and labels that do not."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.builder.data import Dataset, load_data
from splitnet.builder.labelling import check_labels, has_labels
from splitnet.errors import ConfigError, ModelError
from splitnet.runtime.samples import Samples
from splitnet.values import TensorSpec


@pytest.mark.parametrize(
    ("labels", "dims", "message"),
    [
        (
            [[0], [3]],
            ("N", 3),
            "sample 1 of d.npz has the label 3, the model knows 3 classes, 0 to 2",
        ),
        ([[0], [1]], ("N", 64, 10), "1 labels a sample, the model answers with 64"),
        ([[0, 1], [1, 1]], ("N", 10), "2 labels a sample, the model answers with 1"),
    ],
)
def test_labels_that_do_not_suit(
    labels: list[list[int]], dims: tuple[int | str, ...], message: str
) -> None:
    data = Dataset(Samples([np.zeros(1)] * 2, np.array(labels)), "d.npz")
    with pytest.raises(ConfigError, match=message):
        check_labels(data, TensorSpec("y", "float32", dims))


def test_an_output_that_has_no_labels() -> None:
    data = load_data("digits:pages=1", "test")
    with pytest.raises(ModelError, match=r"\(N, classes\)"):
        check_labels(data, TensorSpec("y", "float32", ("N", 3, 4, 5)))


def test_which_answers_are_labels() -> None:
    page, map_ = (TensorSpec("y", "float32", dims) for dims in (("N", 4, 10), ("N", 2, 8, 8)))
    assert has_labels([page], None) and has_labels([page], {"op": "softmax"})
    assert not has_labels([page], {"op": "nms"})
    assert not has_labels([map_], None)
