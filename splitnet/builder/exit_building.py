"""The early exits of a bundle: heads that are trained or given, their files, their thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from splitnet.builder.features import Features
from splitnet.builder.places import ExitPlace
from splitnet.builder.segments import GraphFile, export_module
from splitnet.bundle import ExitHead
from splitnet.console import Progress
from splitnet.errors import ConfigError
from splitnet.runtime.answers import labels, load_confidence, score
from splitnet.training.certify import (
    CLOSED,
    LEARN_THEN_TEST,
    ExitScores,
    Promise,
    certify,
    threshold_path,
)
from splitnet.training.exits import choose_thresholds, exit_logits, fit_temperature, train_exit
from splitnet.training.heads import WORK_SHARE, make_head
from splitnet.training.loop import Schedule

MAX_EXIT_SHARE = 0.1
"""An exit that costs more of the network's FLOPs than this is worth a note."""

SELECTION_EVERY = 10
"""With a promise, each so many-th training sample chooses epoch and temperature, so that the
calibration data is new to everything but the thresholds; all of them where heads are given."""


@dataclass(frozen=True, slots=True)
class ExitWishes:
    """What exits are to be like.

    Attributes
    ----------
    confidence
        Name of the confidence function.
    loss
        Part of the score on calibration data that they may lose, where there is no promise.
    promise
        What their thresholds must keep to.
    """

    confidence: str = "max-softmax"
    loss: float = 0.005
    promise: Promise | None = None


@dataclass(frozen=True, slots=True)
class LearnedExits:
    """Exits in the order of their boundaries, their files, and what a person should know.

    Attributes
    ----------
    origin
        How the thresholds were chosen, for the advice.
    """

    heads: tuple[ExitHead, ...] = ()
    files: tuple[GraphFile, ...] = ()
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


def build_exits(
    places: Sequence[ExitPlace],
    training: Features,
    calibration: Features,
    given: Sequence[nn.Module],
    wishes: ExitWishes,
    schedule: Schedule,
    whole_flops: int,
    folder: Path,
    progress: Progress,
) -> LearnedExits:
    """Train what is not given, export it and choose temperatures and thresholds.

    Parameters
    ----------
    places
        The exits in the order of their boundaries.
    training, calibration
        Tensors of these boundaries and of the last one.
    given
        Trained heads, one a place, or none at all.

    Raises
    ------
    ConfigError
        Another number of heads is given, one does not fit its features, or there are too few
        calibration samples for the promise.
    """
    if given and len(given) != len(places):
        raise ConfigError(
            f"{len(given)} trained heads are given for {len(places)} exits; one each is needed, "
            "in the order of the network"
        )
    if wishes.promise is not None:
        wishes.promise.check_samples(len(calibration.data))
    end = max(training.at)
    truth, held_truth = _truth(training, end), _truth(calibration, end)
    measure = load_confidence(wishes.confidence)
    heads, files, found = [], [], []
    for index, place in enumerate(places):
        features, held = training.at[place.boundary], calibration.at[place.boundary]
        rows, chosen = _selection(features, truth, (held, held_truth), wishes)
        if given:
            head = given[index]
            chosen = chosen if wishes.promise is None else (features, truth)
        else:
            shapes = features.shape[1:], training.at[end].shape[1:]
            head = make_head(*shapes, WORK_SHARE * whole_flops, schedule.seed)
            progress.step(f"training the exit {place.name} on {len(rows)} samples", schedule.epochs)
            train_exit(head, (features, truth), rows, chosen, schedule, progress)
        temperature = fit_temperature(exit_logits(head, chosen[0]), chosen[1])
        logits = exit_logits(head, held)
        confidence = measure(logits, temperature).astype(np.float32)
        found.append((confidence, score(labels(logits), held_truth)))
        file = export_module(head, np.array(features[:1]), f"exit-{place.name}", folder)
        files.append(file)
        heads.append(
            ExitHead(place.name, place.boundary, file.ref, temperature, wishes.confidence, CLOSED)
        )
    scores = ExitScores(
        np.stack([confidence for confidence, _ in found]),
        np.stack([early for _, early in found]),
        score(labels(calibration.at[end]), held_truth),
    )
    thresholds, origin = _thresholds(scores, places, wishes)
    notes = _notes(places, files, scores, thresholds, wishes, whole_flops)
    opened = [replace(h, threshold=t) for h, t in zip(heads, thresholds, strict=True)]
    return LearnedExits(tuple(opened), tuple(files), tuple(notes), origin)


def _selection(
    features: NDArray[Any],
    truth: NDArray[np.int64],
    held: tuple[NDArray[Any], NDArray[np.int64]],
    wishes: ExitWishes,
) -> tuple[NDArray[np.intp], tuple[NDArray[Any], NDArray[np.int64]]]:
    """Return the rows to learn from, and the data that chooses epoch and temperature."""
    rows = np.arange(len(features))
    if wishes.promise is None:
        return rows, held
    every = slice(None, None, SELECTION_EVERY)
    return np.delete(rows, every), (features[every], truth[every])


def _thresholds(
    scores: ExitScores, places: Sequence[ExitPlace], wishes: ExitWishes
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Return the thresholds, and how they were chosen."""
    if wishes.promise is None:
        return choose_thresholds(scores, wishes.loss), {"loss": wishes.loss}
    path = threshold_path([1 - place.done for place in places])
    found = certify(scores, path, wishes.promise)
    origin = {
        "rule": found.promise.rule,
        "risk": found.promise.risk,
        "confidence": found.promise.confidence,
        "samples": found.samples,
        "lost": found.lost,
    }
    return found.thresholds, origin


def _notes(
    places: Sequence[ExitPlace],
    files: Sequence[GraphFile],
    scores: ExitScores,
    thresholds: Sequence[float],
    wishes: ExitWishes,
    whole_flops: int,
) -> Iterator[str]:
    """Yield what a person should know of exits and thresholds."""
    leaves_at = scores.leaves_at(thresholds)
    for index, (place, file) in enumerate(zip(places, files, strict=True)):
        share, cost = float((leaves_at == index).mean()), file.flops / whole_flops
        if thresholds[index] < CLOSED:
            yield f"exit {place.name}: {share:.1%} of the calibration samples leave there"
        if cost > MAX_EXIT_SHARE:
            yield f"exit {place.name} is expensive: {cost:.0%} of the network's work"
    closed = [p.name for p, t in zip(places, thresholds, strict=True) if t >= CLOSED]
    if closed:
        limit = wishes.loss if wishes.promise is None else wishes.promise.risk
        names = ", ".join(closed)
        verb = "is" if len(closed) == 1 else "are"
        yield (
            f"exit {names} {verb} closed: no threshold loses at most {limit:g} of the score on "
            "calibration data; it only answers when a deadline leaves nothing else"
        )
    late = float(scores.late.mean())
    mixed = late - float(scores.lost(thresholds).mean())
    yield f"the calibration score is {mixed:.4f} with the exits and {late:.4f} without"
    if wishes.promise is not None:
        yield _promised(wishes.promise, len(scores.late))


def _promised(promise: Promise, count: int) -> str:
    sure = (
        f"with a confidence of {promise.confidence:g}"
        if promise.rule == LEARN_THEN_TEST
        else "on average over calibration sets"
    )
    return (
        f"the exits lose at most {promise.risk:g} of the score against the whole model, {sure} "
        f"({promise.rule}, {count} calibration samples)"
    )


def _truth(features: Features, end: int) -> NDArray[np.int64]:
    """Return labels, those of the whole network where the data has none."""
    return labels(features.at[end]) if features.data.y is None else features.data.y
