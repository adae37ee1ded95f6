"""Codecs that are worth trying for a tensor, fitted to one half of its samples.

The other half measures bytes, errors and times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

import numpy as np

from splitnet.codecs.base import Array, header_of
from splitnet.codecs.calibrating import Calibrated, calibrate
from splitnet.codecs.making import make_codec
from splitnet.codecs.quantiser import FLOATS
from splitnet.errors import CodecError

Clock: TypeAlias = Callable[[], float]
"""Seconds since some moment."""

LOSSLESS: tuple[Mapping[str, Any], ...] = (
    {"id": "store"},
    {"id": "lz4"},
    {"id": "pipeline", "codecs": [{"id": "shuffle"}, {"id": "lz4"}]},
    {"id": "zlib"},
)
"""What is tried for every tensor."""

IMAGES: tuple[Mapping[str, Any], ...] = (
    {"id": "png"},
    {"id": "webp", "lossless": True},
    *({"id": "jpeg", "quality": quality} for quality in (95, 90, 75, 50)),
    *({"id": "webp", "quality": quality} for quality in (95, 90, 75, 50)),
)
"""What is tried behind `pixels` for the network's input."""

LAST: tuple[Mapping[str, Any], ...] = (
    {"id": "pack"},
    {"id": "lz4"},
    {"id": "rans"},
    {"id": "rans", "per_channel": True},
)
"""What is tried behind each quantiser of a float tensor; ``pack`` gets its bits."""

LONGER: tuple[Mapping[str, Any], ...] = ({"id": "rans-neighbours"}, {"id": "rans-blocks"})
"""What is tried behind the quantiser that won, since fitting takes long."""


@dataclass(frozen=True, slots=True)
class Option:
    """A codec for one tensor and what it was measured to do.

    Attributes
    ----------
    nbytes
        Mean over the samples.
    error
        Mean squared error by the variance of the values.
    time_s
        Encoding and decoding one sample; 0 if nobody gave a clock.
    """

    codec: Calibrated
    nbytes: float
    error: float
    time_s: float = 0.0

    @property
    def name(self) -> str:
        """The stages in words."""
        stages = self.codec.config.get("codecs", [self.codec.config])
        return " + ".join(_stage_name(stage) for stage in stages)


def measure(
    samples: Sequence[Array],
    pixels: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
) -> list[Option]:
    """Return every candidate for one tensor, measured on the second half of `samples`."""
    if len(samples) < 2:
        raise CodecError(f"{len(samples)} samples, at least 2 are needed: to fit and to measure")
    half = len(samples) // 2
    fitting, held_out = samples[:half], samples[half:]
    return [measure_codec(codec, held_out, clock) for codec in _candidates(fitting, pixels)]


def _candidates(samples: Sequence[Array], pixels: Mapping[str, Any] | None) -> Iterator[Calibrated]:
    """Yield the codecs that are worth trying, fitted to `samples`."""
    yield from map(Calibrated, map(dict, LOSSLESS))
    if pixels is not None:
        for image in IMAGES:
            yield Calibrated({"id": "pipeline", "codecs": [pixels, image]})
    header = header_of(samples[0])
    if header.dtype not in FLOATS:
        return
    if header.dtype == "float32":
        yield Calibrated({"id": "float16"})
    for kind in _quantisers(len(header.shape) > 1):
        quantiser = calibrate(kind, samples).config
        for last in LAST:
            if last.get("per_channel") and len(header.shape) < 2:
                continue
            stage = {**last, "bits": kind["bits"]} if last["id"] == "pack" else last
            yield calibrate({"id": "pipeline", "codecs": [quantiser, stage]}, samples)


def _quantisers(has_channels: bool) -> Iterator[Mapping[str, Any]]:
    for bits in range(8, 1, -1):
        clip = "min-max" if bits == 8 else "mse"
        yield {"id": "affine", "bits": bits, "clip": clip}
        if has_channels:
            yield {"id": "affine", "bits": bits, "clip": clip, "per_channel": True}
        if bits <= 3:
            yield {"id": "codebook", "bits": bits, "per_channel": has_channels}


def with_longer_fits(
    option: Option, samples: Sequence[Array], clock: Clock | None = None
) -> list[Option]:
    """Return `option` with the coders that take long to fit behind the same quantiser.

    The symbols, and so the errors, stay as they are. There is none for an option without such a
    quantiser, or for samples without channels and places.
    """
    stages = option.codec.config.get("codecs", [{}])
    channels_and_places = len(header_of(samples[0]).shape) > 2
    if stages[0].get("id") not in ("affine", "codebook") or not channels_and_places:
        return []
    half = len(samples) // 2
    configs = ({"id": "pipeline", "codecs": [stages[0], last]} for last in LONGER)
    return [
        measure_codec(calibrate(config, samples[:half]), samples[half:], clock)
        for config in configs
    ]


def measure_codec(
    codec: Calibrated, samples: Sequence[Array], clock: Clock | None = None
) -> Option:
    """Return what `codec` does to `samples`."""
    made, context = make_codec(codec.config), codec.context
    nbytes, squares, times = 0, 0.0, []
    for array in samples:
        began_s = clock() if clock else 0.0
        data = made.encode(array, context)
        decoded = made.decode(data, header_of(array), context)
        times.append(clock() - began_s if clock else 0.0)
        nbytes += len(data)
        squares += float(np.square(decoded.astype(np.float64) - array).sum())
    values = np.concatenate([array.reshape(-1) for array in samples]).astype(np.float64)
    scale = float(np.square(values - values.mean()).sum()) if values.size else 0.0
    error = 0.0 if squares == 0 else squares / scale if scale > 0 else inf
    return Option(codec, nbytes / len(samples), error, float(np.median(times)))


def _stage_name(stage: Mapping[str, Any]) -> str:
    words = [str(stage["id"])]
    if "bits" in stage:
        words.append(f"{stage['bits']} bit")
    if stage.get("per_channel") or len(stage.get("levels", ())) > 1:
        words.append("per channel")
    return " ".join(words)
