"""From the network's output to an answer: labels, confidence, score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from splitnet import registry
from splitnet.errors import TensorMismatchError

Array: TypeAlias = NDArray[Any]

Confidence: TypeAlias = Callable[[Array, float], Array]
"""``(logits, temperature) -> (N,)``: how sure an output is, in [0, 1]."""


def load_confidence(name: str) -> Confidence:
    """Return the registered confidence function `name` (raises `UnknownNameError`)."""
    return cast(Confidence, registry.load("confidences", name))


def max_softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Return the largest softmax probability, for several labels the smallest of them.

    Parameters
    ----------
    logits
        ``(N, C)``, or ``(N, P, C)`` for a page of P labels.
    temperature
        Divides the logits (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).

    Returns
    -------
    NDArray
        ``(N,)`` float64 in [0, 1].
    """
    return _of_page(_softmax(logits, temperature).max(axis=2))


def entropy(logits: Array, temperature: float = 1.0) -> Array:
    """Return 1 - H / log C, H the entropy of the C softmax probabilities; as `max_softmax` else.

    Source: Teerapittayanon et al., "BranchyNet", ICPR 2016 (there: leave below a bound on H).
    """
    probability = _softmax(logits, temperature)
    classes = probability.shape[2]
    if classes < 2:
        return np.ones(len(probability))
    logs = np.log(np.where(probability > 0, probability, 1.0))
    disorder = -(probability * logs).sum(axis=2) / np.log(classes)
    return _of_page(np.clip(1.0 - disorder, 0.0, 1.0))


def margin(logits: Array, temperature: float = 1.0) -> Array:
    """Return the largest softmax probability less the second one; as `max_softmax` else.

    Source: Park et al., "Big/little deep neural network", CODES+ISSS 2015 (score margin).
    """
    probability = _softmax(logits, temperature)
    if probability.shape[2] < 2:
        return np.ones(len(probability))
    two = np.partition(probability, -2, axis=2)[:, :, -2:]
    return _of_page(two[:, :, 1] - two[:, :, 0])


def absence(logits: Array, temperature: float = 1.0) -> Array:
    """Return the softmax probability of the first class: a prefilter's "nothing of interest"."""
    return _of_page(_softmax(logits, temperature)[:, :, 0])


def nothing_of_interest(truth: Array, interest: Sequence[int]) -> Array:
    """Return whether none of the labels of a sample is of interest, bool ``(N,)``.

    Parameters
    ----------
    truth
        ``(N,)`` or ``(N, P)``.
    interest
        The labels of interest; empty: all are.
    """
    found = truth.reshape(len(truth), -1)
    wanted = np.isin(found, interest) if interest else np.ones(found.shape, np.bool_)
    return cast(Array, ~wanted.any(axis=1))


def labels(output: Array) -> Array:
    """Return the labels of an output ``(N, C)`` or ``(N, P, C)`` as ``(N, P)`` int64."""
    return cast(Array, _pages(output).argmax(axis=2))


def score(found: Array, truth: Array) -> Array:
    """Return the share of labels that are right, ``(N,)`` float64 in [0, 1].

    Parameters
    ----------
    found
        ``(N, P)``, as `labels` returns it.
    truth
        ``(N,)`` or ``(N, P)``.
    """
    wanted = truth.reshape(len(truth), -1)
    if found.shape != wanted.shape:
        raise TensorMismatchError(
            f"the model gives {found.shape[1]} labels a sample, the data has {wanted.shape[1]}"
        )
    return cast(Array, (found == wanted).mean(axis=1))


def _softmax(logits: Array, temperature: float) -> Array:
    """Return the probabilities as ``(N, P, C)`` float64."""
    scaled = _pages(logits).astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=2, keepdims=True))
    return cast(Array, weights / weights.sum(axis=2, keepdims=True))


def _of_page(confidence: Array) -> Array:
    """Return the confidence in a page ``(N, P)``: that in its least sure label."""
    return cast(Array, confidence.min(axis=1))


def _pages(output: Array) -> Array:
    """Return an output as ``(N, P, C)``."""
    if output.ndim == 2:
        return output[:, np.newaxis, :]
    if output.ndim == 3:
        return output
    raise TensorMismatchError(
        f"an output of shape {output.shape} has no labels; (N, classes) or "
        "(N, labels, classes) is needed"
    )
