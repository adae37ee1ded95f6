"""Early exits: heads on the features of a frozen network, calibrated to be trusted.

Source: Teerapittayanon et al., "BranchyNet", ICPR 2016; Guo et al., "On Calibration of Modern
Neural Networks", ICML 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from splitnet.console import Progress
from splitnet.training.certify import CLOSED, ExitScores
from splitnet.training.loop import Schedule, fit

_TEMPERATURES = np.geomspace(0.25, 8.0, 61)


def train_exit(
    head: nn.Module,
    training: tuple[NDArray[Any], NDArray[np.int64]],
    rows: NDArray[np.intp],
    selection: tuple[NDArray[Any], NDArray[np.int64]],
    schedule: Schedule,
    progress: Progress,
) -> None:
    """Train `head` by cross-entropy and leave it in the state that is best on `selection`.

    Parameters
    ----------
    training, selection
        Features (N, ...) float32 and labels (N, P).
    rows
        Which of the training samples to learn from.
    """
    features, truth = training
    targets = torch.from_numpy(truth)
    held, held_truth = selection

    def loss(drawn: Tensor) -> Tensor:
        picked = rows[drawn.numpy()]
        x = torch.from_numpy(np.ascontiguousarray(features[picked]))
        return _cross_entropy(head(x), targets[picked])

    def quality() -> float:
        found = torch.from_numpy(exit_logits(head, held))
        return -float(_cross_entropy(found, torch.from_numpy(held_truth)))

    fit(head, loss, len(rows), quality, schedule, progress)


def fit_temperature(logits: NDArray[Any], truth: NDArray[np.int64]) -> float:
    """Return the temperature with the least cross-entropy of ``logits / temperature``.

    Parameters
    ----------
    logits
        (N, C) or (N, P, C).
    truth
        (N, P).
    """
    scores, wanted = torch.from_numpy(logits), torch.from_numpy(truth)
    losses = [float(_cross_entropy(scores / t, wanted)) for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def choose_thresholds(scores: ExitScores, loss_allowed: float) -> tuple[float, ...]:
    """Return thresholds at which these samples lose at most `loss_allowed`, without a promise.

    Each exit may lose an equal share of it, on the samples that did not leave before.
    """
    stays = np.ones(len(scores.late), bool)
    thresholds = []
    for confidence, early in zip(scores.confidence, scores.early, strict=True):
        threshold = choose_threshold(
            np.where(stays, confidence, np.float32(0)),
            np.where(stays, early, scores.late),
            scores.late,
            loss_allowed / len(scores.early),
        )
        stays &= confidence < np.float32(threshold)
        thresholds.append(threshold)
    return tuple(thresholds)


def choose_threshold(
    confidence: NDArray[Any], early: NDArray[Any], late: NDArray[Any], loss_allowed: float
) -> float:
    """Return the smallest threshold at which answering early costs at most `loss_allowed`.

    Samples whose confidence reaches the threshold count with their score `early`, the others with
    `late`, all (N,). If even the surest samples lose too much, the exit is `CLOSED`.
    """
    order = np.argsort(-confidence, kind="stable")
    lost = np.cumsum((late - early)[order]) / len(order)
    # A threshold takes all samples of its confidence: only the last of equals may be the edge.
    last = np.append(confidence[order][:-1] != confidence[order][1:], True)
    good = np.flatnonzero((lost <= loss_allowed) & last)
    if not len(good):
        return CLOSED
    # Tables hold float32: round down, or the sample at the edge would not reach its own value.
    edge = np.float32(confidence[order[good[-1]]])
    return float(np.nextafter(edge, np.float32(0.0)))


def exit_logits(head: nn.Module, features: NDArray[Any]) -> NDArray[Any]:
    """Return what a head says to features (N, ...), in eval mode."""
    head.eval()
    with torch.inference_mode():
        parts = [
            head(torch.from_numpy(np.ascontiguousarray(features[i : i + 256])))
            for i in range(0, len(features), 256)
        ]
    logits: NDArray[Any] = torch.cat(parts).numpy()
    return logits


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), truth.reshape(-1))
