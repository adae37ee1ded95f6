"""What the tensors of an answer mean: labels, boxes, confidence, and how right they are.

Every bundle has one form of answers. It follows from the contract's postprocess step, without one
from the shape of the model's output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle import Contract
from splitnet.errors import ModelError
from splitnet.runtime.answers import labels, max_softmax, nothing_of_interest, score
from splitnet.values import TensorSpec

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Sequence[Array]
"""Tensors of an answer, ``(N, ...)`` each."""

SAME_BOX = 0.5
"""Overlap (intersection over union) from which two boxes of a class are the same object."""

_SCORE, _CLASS = 4, 5
"""Columns of a box behind its four sides."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the application gets for one sample.

    Attributes
    ----------
    labels
        One or several labels; of a detector the classes of its boxes.
    confidence
        How sure the answer is, in [0, 1].
    details
        What there is besides: for each label the likeliest ones with their probabilities
        ``[label, probability]``, or boxes ``[left, top, right, bottom, score, class]``.
    skipped
        Whether the prefilter found nothing of interest; there are no labels then.
    """

    labels: list[int]
    confidence: float
    details: list[Any] | None = None
    skipped: bool = False


class AnswerForm(ABC):
    """How the answers of one model are read."""

    labelled: ClassVar[bool]
    """Whether answers are compared with labels; otherwise with what the whole model answers."""

    @abstractmethod
    def confidence(self, answer: Arrays) -> Array:
        """Return how sure each answer is, ``(N,)`` in [0, 1]."""

    @abstractmethod
    def truth(self, answer: Arrays) -> Array:
        """Return what counts as right if `answer` is the whole model's, ``(N, ...)``."""

    @abstractmethod
    def score(self, answer: Arrays, truth: Array) -> Array:
        """Return how right each answer is, ``(N,)`` in [0, 1].

        Parameters
        ----------
        truth
            What `truth` returned, or labels ``(N, P)`` if the form is `labelled`.
        """

    def nothing(self, truth: Array, interest: Sequence[int]) -> Array:
        """Return whether there is nothing of interest in a sample, bool ``(N,)``.

        Parameters
        ----------
        truth
            As for `score`.
        interest
            The labels, or classes of boxes, of interest; empty: anything at all is.

        Raises
        ------
        ModelError
            The answers name no such thing.
        """
        raise ModelError(
            "these answers are neither labels nor boxes; nothing in them is of interest"
        )

    @abstractmethod
    def read(self, answer: Arrays) -> Reading:
        """Return the answer of a single sample."""


class _LabelForm(AnswerForm):
    """Answers that are labels."""

    labelled = True

    @abstractmethod
    def _labels(self, answer: Arrays) -> Array:
        """Return the labels ``(N, P)``."""

    def truth(self, answer: Arrays) -> Array:
        return self._labels(answer)

    def score(self, answer: Arrays, truth: Array) -> Array:
        return score(self._labels(answer), truth)

    def nothing(self, truth: Array, interest: Sequence[int]) -> Array:
        return nothing_of_interest(truth, interest)

    def read(self, answer: Arrays) -> Reading:
        return Reading(self._labels(answer)[0].tolist(), float(self.confidence(answer)[0]))


class Logits(_LabelForm):
    """The model's own output ``(N, C)`` or ``(N, P, C)``: the largest logit is the label."""

    def confidence(self, answer: Arrays) -> Array:
        """Return the largest softmax, over several labels the smallest of them."""
        return max_softmax(answer[0])

    def _labels(self, answer: Arrays) -> Array:
        return labels(answer[0])


class Probabilities(_LabelForm):
    """What ``softmax`` gives: probabilities in the shape of the output."""

    def confidence(self, answer: Arrays) -> Array:
        """Return the largest probability, over several labels the smallest of them."""
        return _least(answer[0].max(axis=-1))

    def _labels(self, answer: Arrays) -> Array:
        return labels(answer[0])


class Likeliest(_LabelForm):
    """What ``top-k`` gives: labels and their probabilities, the likeliest first."""

    def confidence(self, answer: Arrays) -> Array:
        """Return the probability of the first, over several labels the smallest of them."""
        return _least(answer[1][..., 0])

    def read(self, answer: Arrays) -> Reading:
        """Return the answer of a single sample, for each label all that were kept."""
        found, chances = (tensor[0].reshape(-1, tensor.shape[-1]).tolist() for tensor in answer)
        pairs = [
            [[label, chance] for label, chance in zip(*rows, strict=True)]
            for rows in zip(found, chances, strict=True)
        ]
        return Reading([row[0] for row in found], float(self.confidence(answer)[0]), pairs)

    def _labels(self, answer: Arrays) -> Array:
        first = answer[0][..., 0]
        return cast(Array, first.reshape(len(first), -1).astype(np.int64))


class Boxes(AnswerForm):
    """What ``nms`` gives: ``(N, M, 6)``, rows of score 0 behind the boxes that were found."""

    labelled = False

    def confidence(self, answer: Arrays) -> Array:
        """Return the mean score of the boxes, 0 if there are none."""
        scores = answer[0][..., _SCORE]
        return cast(Array, scores.sum(axis=1) / np.maximum((scores > 0).sum(axis=1), 1))

    def truth(self, answer: Arrays) -> Array:
        """Return the boxes themselves."""
        return answer[0]

    def score(self, answer: Arrays, truth: Array) -> Array:
        """Return the share of boxes on both sides that are the same (F1), 1 if there are none."""
        pairs = zip(map(_kept, answer[0]), map(_kept, truth), strict=True)
        return np.array([_same_share(found, wanted) for found, wanted in pairs])

    def nothing(self, truth: Array, interest: Sequence[int]) -> Array:
        """Return whether no box was kept whose class is of interest."""
        wanted = np.isin(truth[..., _CLASS], interest) if interest else True
        return cast(Array, ~((truth[..., _SCORE] > 0) & wanted).any(axis=1))

    def read(self, answer: Arrays) -> Reading:
        """Return the boxes of a single sample, the surest first."""
        boxes = _kept(answer[0][0])
        classes = boxes[:, _CLASS].astype(int).tolist()
        rows = [[*row[:_CLASS], label] for row, label in zip(boxes.tolist(), classes, strict=True)]
        return Reading(classes, float(self.confidence(answer)[0]), rows)


class Tensors(AnswerForm):
    """Outputs that are neither labels nor boxes; how sure they are is not known."""

    labelled = False

    def confidence(self, answer: Arrays) -> Array:
        """Return 1: nothing is known."""
        return np.ones(len(answer[0]))

    def truth(self, answer: Arrays) -> Array:
        """Return all values behind each other."""
        flat = [tensor.reshape(len(tensor), -1).astype(np.float64) for tensor in answer]
        return np.concatenate(flat, axis=1)

    def score(self, answer: Arrays, truth: Array) -> Array:
        """Return 1 minus the sum of all differences over that of all values, at least 0."""
        size = np.maximum(np.abs(truth).sum(axis=1), np.finfo(np.float64).tiny)
        error = np.abs(self.truth(answer) - truth).sum(axis=1) / size
        return cast(Array, np.maximum(1 - error, 0.0))

    def read(self, answer: Arrays) -> Reading:
        """Return no label; the tensors are the application's own affair."""
        return Reading([], 1.0)


def answer_form(contract: Contract) -> AnswerForm:
    """Return how the answers of `contract` are read."""
    if contract.postprocess is not None:
        return _FORMS[contract.postprocess.step["op"]]
    return output_form(contract.outputs)


def output_form(outputs: Sequence[TensorSpec]) -> AnswerForm:
    """Return how a model's outputs are read without postprocessing."""
    return Logits() if len(outputs[0].dims) in (2, 3) else Tensors()


_FORMS: dict[str, AnswerForm] = {
    "softmax": Probabilities(),
    "top-k": Likeliest(),
    "nms": Boxes(),
}


def _least(chances: Array) -> Array:
    """Return the smallest of the chances of each sample."""
    return cast(Array, chances.reshape(len(chances), -1).min(axis=1).astype(np.float64))


def _kept(boxes: Array) -> Array:
    """Return the rows of one sample that are boxes."""
    kept: Array = boxes[boxes[:, _SCORE] > 0]
    return kept


def _same_share(found: Array, wanted: Array) -> float:
    """Match boxes one to one, the surest first, and return the share that has a partner."""
    if not len(found) + len(wanted):
        return 1.0
    overlap = _overlaps(found, wanted)
    overlap[found[:, None, _CLASS] != wanted[None, :, _CLASS]] = 0.0
    same = 0
    for row in np.argsort(-found[:, _SCORE], kind="stable") if len(wanted) else ():
        partner = int(overlap[row].argmax())
        if overlap[row, partner] >= SAME_BOX:
            same += 1
            overlap[:, partner] = 0.0
    return 2 * same / (len(found) + len(wanted))


def _overlaps(a: Array, b: Array) -> Array:
    """Return intersection over union of all boxes of two lists."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    common = np.maximum(high - low, 0).prod(axis=2)
    areas = [(boxes[:, 2:4] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return cast(Array, common / np.maximum(union, np.finfo(np.float32).tiny))
