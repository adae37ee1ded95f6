"""The levels of a trained student: codecs fitted to its latents, true bytes and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import Context, header_of
from splitnet.codecs.calibrating import Calibrated, calibrate
from splitnet.codecs.making import make_codec
from splitnet.errors import CodecError
from splitnet.training.recipe import LevelPlan

LEAST_TO_COMPARE = 8
"""With fewer calibration samples the first codec of a level is taken unseen."""


@dataclass(frozen=True, slots=True)
class FittedLevel:
    """A level with its codec.

    Attributes
    ----------
    codec
        Configuration; the tables that it names are in `tables`.
    """

    name: str
    codec: Mapping[str, Any]
    tables: Mapping[str, bytes]

    def transmit(self, latents: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[bytes]]:
        """Return what arrives of latents ``(N, C, H, W)``, and what is sent of each sample.

        That is its payload, or all parts of it one behind the other.
        """
        codec, context = make_codec(self.codec), Context(self.tables)
        samples = _samples(latents)
        parts = [codec.encode_parts(sample, context) for sample in samples]
        headers = [header_of(sample) for sample in samples]
        arrived = codec.decode_parts_batch(parts, headers, context)
        return np.concatenate(arrived), [b"".join(each) for each in parts]


def fit_levels(plans: Sequence[LevelPlan], latents: NDArray[np.float32]) -> tuple[FittedLevel, ...]:
    """Return each level with the codec that makes the shortest payloads.

    Parameters
    ----------
    latents
        Of calibration samples; half of them are set aside to compare the codecs, then the best
        one is fitted to all.
    """
    return tuple(_fit(plan, latents) for plan in plans)


def _fit(plan: LevelPlan, latents: NDArray[np.float32]) -> FittedLevel:
    best = 0
    if len(plan.codecs) > 1 and len(latents) >= LEAST_TO_COMPARE:
        half = len(latents) // 2
        best = int(np.argmin([_cost(c, latents[:half], latents[half:]) for c in plan.codecs]))
    found = calibrate(plan.codecs[best], _samples(latents))
    return FittedLevel(plan.name, found.config, found.tables)


def _samples(latents: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return latents as they are sent, one by one."""
    return [latents[i : i + 1] for i in range(len(latents))]


def _cost(codec: Mapping[str, Any], seen: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the mean size of payloads of samples that a codec was not fitted to."""
    try:
        found: Calibrated = calibrate(codec, _samples(seen))
        _, payloads = FittedLevel("", found.config, found.tables).transmit(other)
    except CodecError:
        return float("inf")  # too few samples to fit it, or tensors that it does not take
    return float(np.mean([len(payload) for payload in payloads]))
