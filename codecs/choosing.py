"""The pipeline for each tensor of a cut, chosen on calibration data for a target.

The first half of the data fits ranges and tables, the second half measures bytes, errors and
times. Nothing here has a clock or a network of its own: both come in as functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from splitnet.codecs.base import Array, header_of
from splitnet.codecs.calibrating import Calibrated, calibrate
from splitnet.codecs.making import make_codec
from splitnet.codecs.quantiser import FLOATS
from splitnet.errors import CodecError

Tensors = Sequence[Sequence[Array]]
"""For each tensor of the cut, what crosses for each sample, ``(1, ...)``."""

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


@dataclass(frozen=True, slots=True)
class Target:
    """What to keep within; at least one of the first three.

    Attributes
    ----------
    nbytes
        Mean payload of a sample, all tensors together: the least error within it wins.
    error
        Squared error of each tensor by the variance of its values: the fewest bytes win.
    accuracy
        What `Judge` returns at least: the fewest bytes win.
    time_s
        Encoding and decoding of all tensors of a sample together.
    """

    nbytes: float | None = None
    error: float | None = None
    accuracy: float | None = None
    time_s: float | None = None

    def __post_init__(self) -> None:
        if self.nbytes is self.error is self.accuracy is None:
            raise CodecError("a choice needs a target: bytes, error or accuracy")


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


Judge = Callable[[Sequence[Option]], float]
"""Returns the accuracy of the network with these codecs, one a tensor."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One option a tensor, and why."""

    options: tuple[Option, ...]
    reasons: tuple[str, ...]


def choose(
    tensors: Tensors,
    target: Target,
    *,
    pixels: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
    clock: Callable[[], float] | None = None,
) -> Choice:
    """Return the codecs that meet `target` on calibration data.

    Parameters
    ----------
    pixels
        What `pixels_config` found for the network's input: tries images, too.

    Raises
    ------
    CodecError
        No combination meets the target (the message says how near the best one comes), or a
        function that the target needs is missing.
    """
    if target.accuracy is not None and judge is None:
        raise CodecError("an accuracy is asked for, but nobody can judge it")
    if target.time_s is not None and clock is None:
        raise CodecError("a time is asked for, but there is no clock")
    limit_s = inf if target.time_s is None else target.time_s / len(tensors)
    fronts = [_front(measure(samples, pixels, clock), limit_s) for samples in tensors]
    steps = list(_walk(fronts))
    if target.nbytes is not None:
        options = _within_bytes(steps, target.nbytes)
    elif target.error is not None:
        options = _within_error(fronts, target.error)
    else:
        assert judge is not None and target.accuracy is not None
        options = _within_accuracy(steps, target.accuracy, judge)
    last = tuple(
        _with_neighbours(option, samples, limit_s, clock)
        for option, samples in zip(options, tensors, strict=True)
    )
    return _explain(last, steps, target)


def _with_neighbours(
    option: Option, samples: Sequence[Array], limit_s: float, clock: Callable[[], float] | None
) -> Option:
    """Return `option` with the coder that fits longest behind the same quantiser, if it is smaller.

    The symbols, and so the errors, stay as they are.
    """
    stages = option.codec.config.get("codecs", [{}])
    channels_and_places = len(header_of(samples[0]).shape) > 2
    if stages[0].get("id") not in ("affine", "codebook") or not channels_and_places:
        return option
    half = len(samples) // 2
    config = {"id": "pipeline", "codecs": [stages[0], {"id": "rans-neighbours"}]}
    other = _measure(calibrate(config, samples[:half]), samples[half:], clock)
    return other if other.nbytes < option.nbytes and other.time_s <= limit_s else option


def measure(
    samples: Sequence[Array],
    pixels: Mapping[str, Any] | None = None,
    clock: Callable[[], float] | None = None,
) -> list[Option]:
    """Return every candidate for one tensor, measured on the second half of `samples`."""
    if len(samples) < 2:
        raise CodecError(f"{len(samples)} samples, at least 2 are needed: to fit and to measure")
    half = len(samples) // 2
    fitting, held_out = samples[:half], samples[half:]
    return [_measure(codec, held_out, clock) for codec in _candidates(fitting, pixels)]


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


def _measure(
    codec: Calibrated, samples: Sequence[Array], clock: Callable[[], float] | None
) -> Option:
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


def _front(options: Sequence[Option], limit_s: float) -> list[Option]:
    """Return the options that no other one beats in bytes and error, the smallest first."""
    front: list[Option] = []
    for option in sorted(options, key=lambda option: (option.nbytes, option.error)):
        if option.time_s <= limit_s and (not front or option.error < front[-1].error):
            front.append(option)
    if not front:
        fastest_s = min(option.time_s for option in options)
        raise CodecError(
            f"no codec is fast enough for {limit_s:g} s a tensor, the fastest takes {fastest_s:g} s"
        )
    return front


def _walk(fronts: Sequence[list[Option]]) -> Iterator[tuple[Option, ...]]:
    """Yield combinations from the fewest bytes to the least error.

    Each step improves the tensor whose error falls most for a byte (a Lagrangian descent, exact
    where the fronts are convex).
    """
    places = [0] * len(fronts)
    while True:
        yield tuple(front[place] for front, place in zip(fronts, places, strict=True))
        gains = [
            (_gain(front[place], front[place + 1]), -number)
            for number, (front, place) in enumerate(zip(fronts, places, strict=True))
            if place + 1 < len(front)
        ]
        if not gains:
            return
        places[-max(gains)[1]] += 1


def _gain(worse: Option, better: Option) -> float:
    return (worse.error - better.error) / max(better.nbytes - worse.nbytes, 1e-9)


def _total(options: Sequence[Option]) -> float:
    return sum(option.nbytes for option in options)


def _within_bytes(steps: Sequence[tuple[Option, ...]], nbytes: float) -> tuple[Option, ...]:
    fitting = [options for options in steps if _total(options) <= nbytes]
    if not fitting:
        raise CodecError(
            f"no codec meets {nbytes:g} bytes a sample, the smallest takes {_total(steps[0]):.0f}"
        )
    return min(fitting, key=lambda options: sum(option.error for option in options))


def _within_error(fronts: Sequence[list[Option]], error: float) -> tuple[Option, ...]:
    found = []
    for front in fronts:
        good = [option for option in front if option.error <= error]
        if not good:
            raise CodecError(
                f"no codec meets an error of {error:g}, the best is {front[-1].error:g}"
            )
        found.append(good[0])
    return tuple(found)


def _within_accuracy(
    steps: Sequence[tuple[Option, ...]], accuracy: float, judge: Judge
) -> tuple[Option, ...]:
    """Search by halving, as accuracy rises along the steps but for noise."""
    best = judge(steps[-1])
    if best < accuracy:
        raise CodecError(f"no codec meets an accuracy of {accuracy:g}, the best has {best:g}")
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        if judge(steps[middle]) >= accuracy:
            high = middle
        else:
            low = middle + 1
    return steps[high]


def _explain(
    options: tuple[Option, ...], steps: Sequence[tuple[Option, ...]], target: Target
) -> Choice:
    reasons = []
    for number, option in enumerate(options):
        others = sorted(
            {id(step[number]): step[number] for step in steps}.values(), key=lambda o: o.nbytes
        )
        smaller = [other for other in others if other.nbytes < option.nbytes]
        beside = (
            f"; next smaller: {smaller[-1].name}, {smaller[-1].nbytes:.0f} bytes, error "
            f"{smaller[-1].error:.2g}"
            if smaller
            else ""
        )
        reasons.append(
            f"tensor {number}: {option.name}, {option.nbytes:.0f} bytes, error {option.error:.2g}"
            f" of the variance{beside}"
        )
    limits = [
        f"{name} {value:g}"
        for name, value in (
            ("at most bytes", target.nbytes),
            ("at most error", target.error),
            ("at least accuracy", target.accuracy),
            ("at most seconds", target.time_s),
        )
        if value is not None
    ]
    total = f"{_total(options):.0f} bytes a sample in all; asked for: {', '.join(limits)}"
    return Choice(options, (*reasons, total))


def _stage_name(stage: Mapping[str, Any]) -> str:
    words = [str(stage["id"])]
    if "bits" in stage:
        words.append(f"{stage['bits']} bit")
    if stage.get("per_channel") or len(stage.get("levels", ())) > 1:
        words.append("per channel")
    return " ".join(words)
