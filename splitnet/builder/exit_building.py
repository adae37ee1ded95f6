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
from splitnet.builder.thresholds import ThresholdWishes, promise_note, thresholds_by
from splitnet.bundle import ExitHead
from splitnet.console import Progress
from splitnet.errors import ConfigError
from splitnet.runtime.answers import labels, load_confidence, score
from splitnet.training.certify import CLOSED, ExitScores
from splitnet.training.exits import exit_logits, fit_temperature, train_exit
from splitnet.training.heads import WORK_SHARE, make_head
from splitnet.training.loop import Schedule

MAX_EXIT_SHARE = 0.1
"""An exit that costs more of the network's FLOPs than this is worth a note."""

SELECTION_EVERY = 10
"""With a promise, each so many-th training sample chooses epoch and temperature, so that the
calibration data is new to everything but the thresholds; all of them where heads are given."""


@dataclass(frozen=True, slots=True)
class ExitWishes(ThresholdWishes):
    """What exits are to be like.

    Attributes
    ----------
    confidence
        Name of the confidence function.
    """

    confidence: str = "max-softmax"


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
    wishes.check_samples(len(calibration.data))
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
    thresholds, origin = thresholds_by(wishes, scores, [1 - place.done for place in places])
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
        names = ", ".join(closed)
        verb = "is" if len(closed) == 1 else "are"
        yield (
            f"exit {names} {verb} closed: no threshold loses at most {wishes.limit:g} of the score "
            "on calibration data; it only answers when a deadline leaves nothing else"
        )
    late = float(scores.late.mean())
    mixed = late - float(scores.lost(thresholds).mean())
    yield f"the calibration score is {mixed:.4f} with the exits and {late:.4f} without"
    if wishes.promise is not None:
        yield promise_note("the exits", "the whole model", wishes.promise, len(scores.late))


def _truth(features: Features, end: int) -> NDArray[np.int64]:
    """Return labels, those of the whole network where the data has none."""
    return labels(features.at[end]) if features.data.y is None else features.data.y
