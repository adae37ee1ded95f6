"""The prefilter of a bundle: a small head that finds nothing of interest, and its certificate.

Source: Matsubara and Levorato, "Neural Compression and Filtering for Edge-assisted Real-time Object
Detection in Challenged Networks", ICPR 2020 (the neural filter).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.builder.features import Features
from splitnet.builder.places import ExitPlace
from splitnet.builder.segments import GraphFile, export_module
from splitnet.bundle import ExitHead, Prefilter
from splitnet.console import Progress
from splitnet.errors import ConfigError
from splitnet.runtime.answers import absence
from splitnet.training.certify import CLOSED
from splitnet.training.exits import exit_logits, fit_temperature, train_exit
from splitnet.training.heads import WORK_SHARE, make_head
from splitnet.training.loop import Schedule
from splitnet.training.recall import RecallCertificate, RecallPromise, certify_recall
from splitnet.values import SKIP

CONFIDENCE = "absence"

ANY = "any"
"""Text form of an interest in whatever there is."""

SELECTION_EVERY = 10
"""Each so many-th training sample chooses epoch and temperature: calibration data is new to
everything but the threshold."""


@dataclass(frozen=True, slots=True)
class PrefilterWishes:
    """What a prefilter is to let through, and how much of it.

    Attributes
    ----------
    interest
        Samples with one of these labels or with a box of one of these classes; empty: of any.
    """

    interest: tuple[int, ...]
    promise: RecallPromise


@dataclass(frozen=True, slots=True)
class LearnedPrefilter:
    """A prefilter, its file, what a person should know, and how its threshold was chosen."""

    prefilter: Prefilter
    file: GraphFile
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


def parse_interest(text: str) -> tuple[int, ...]:
    """Return the labels in ``3,5``, none for ``any``.

    Raises
    ------
    ConfigError
        It is neither.
    """
    if text == ANY:
        return ()
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--interest is {text!r}, must be labels such as 3,5, or {ANY}")
    return tuple(map(int, parts))


def build_prefilter(
    place: ExitPlace,
    training: Features,
    calibration: Features,
    nothing: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    wishes: PrefilterWishes,
    schedule: Schedule,
    whole_flops: int,
    folder: Path,
    progress: Progress,
) -> LearnedPrefilter:
    """Train a prefilter on the tensor of its boundary, export it and certify its threshold.

    Parameters
    ----------
    training, calibration
        Tensors of this boundary.
    nothing
        In which samples of both nothing is of interest.

    Raises
    ------
    ConfigError
        The training samples are all of interest or none of them is, or there are too few
        calibration samples of interest for the promise.
    """
    own, held_nothing = nothing
    if own.all() or not own.any():
        share = "none" if own.all() else "all"
        raise ConfigError(
            f"--interest: {share} of the {len(own)} training samples are of interest; a "
            "prefilter learns from both kinds"
        )
    wishes.promise.check_samples(int((~held_nothing).sum()))
    features = training.at[place.boundary]
    kinds = (~own).astype(np.int64)[:, np.newaxis]
    every = slice(None, None, SELECTION_EVERY)
    rows, chosen = np.delete(np.arange(len(features)), every), (features[every], kinds[every])
    head = make_head(features.shape[1:], (2,), WORK_SHARE * whole_flops, schedule.seed)
    progress.step(f"training the prefilter on {len(rows)} samples", schedule.epochs)
    train_exit(head, (features, kinds), rows, chosen, schedule, progress)
    temperature = fit_temperature(exit_logits(head, chosen[0]), chosen[1])
    sure = absence(exit_logits(head, calibration.at[place.boundary]), temperature)
    certificate = certify_recall(sure, held_nothing, wishes.promise)
    file = export_module(head, np.array(features[:1]), f"exit-{SKIP}", folder)
    threshold = certificate.threshold
    return LearnedPrefilter(
        Prefilter(
            ExitHead(SKIP, place.boundary, file.ref, temperature, CONFIDENCE, threshold),
            wishes.interest,
        ),
        file,
        tuple(_notes(place, certificate, float((sure >= np.float32(threshold)).mean()))),
        {
            "recall": wishes.promise.recall,
            "confidence": wishes.promise.confidence,
            "samples": certificate.samples,
            "missed": certificate.missed,
        },
    )


def _notes(place: ExitPlace, found: RecallCertificate, share: float) -> Iterator[str]:
    promise = found.promise
    if found.threshold >= CLOSED:
        yield (
            f"the prefilter at {place.name} is closed: no threshold lets {promise.recall:g} of "
            "what is of interest through"
        )
        return
    yield f"prefilter at {place.name}: {share:.1%} of the calibration samples are skipped"
    yield (
        f"the prefilter lets at least {promise.recall:g} of what is of interest through, with a "
        f"confidence of {promise.confidence:g} ({found.samples - found.missed} of {found.samples} "
        "calibration samples)"
    )
