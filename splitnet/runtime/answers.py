"""From the network's output to an answer: labels, confidence, score."""

from __future__ import annotations

from collections.abc import Callable
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
    scaled = _pages(logits).astype(np.float64) / temperature
    shifted = scaled - scaled.max(axis=2, keepdims=True)
    probability: Array = 1.0 / np.exp(shifted).sum(axis=2)
    return cast(Array, probability.min(axis=1))


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
