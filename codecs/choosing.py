"""The pipeline for each tensor of a cut, chosen on calibration data for a target.

Nothing here has a clock or a network of its own: both come in as functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

from splitnet.codecs.base import Array
from splitnet.codecs.candidates import Clock, Option, measure, with_longer_fits
from splitnet.errors import CodecError

Tensors: TypeAlias = Sequence[Sequence[Array]]
"""For each tensor of the cut, what crosses for each sample, ``(1, ...)``."""

Options: TypeAlias = tuple[Option, ...]
"""One option a tensor."""

_NEARLY = 1.4
"""What takes so many times the bytes that are allowed may fit with a better coder."""


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


Judge = Callable[[Sequence[Option]], float]
"""Returns the accuracy of the network with these codecs, one a tensor."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One option a tensor, and why."""

    options: Options
    reasons: tuple[str, ...]


def choose(
    tensors: Tensors,
    target: Target,
    *,
    pixels: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
    clock: Clock | None = None,
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
    return choose_each(tensors, [target], pixels=pixels, judge=judge, clock=clock)[0]


def choose_each(
    tensors: Tensors,
    targets: Sequence[Target],
    *,
    pixels: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
    clock: Clock | None = None,
) -> list[Choice]:
    """Return what `choose` does for each of several targets; every codec is measured once.

    Raises
    ------
    CodecError
        As `choose`, for any of them.
    """
    for target in targets:
        if target.accuracy is not None and judge is None:
            raise CodecError("an accuracy is asked for, but nobody can judge it")
        if target.time_s is not None and clock is None:
            raise CodecError("a time is asked for, but there is no clock")
    measured = [measure(samples, pixels, clock) for samples in tensors]
    shorter = _Shorter(tensors, clock)
    return [_choose(measured, target, shorter, judge) for target in targets]


class _Shorter:
    """Puts coders that take long to fit behind the quantisers of options, once for each option."""

    def __init__(self, tensors: Tensors, clock: Clock | None) -> None:
        self._tensors = tensors
        self._clock = clock
        self._found: dict[int, list[Option]] = {}

    def __call__(self, options: Options, limit_s: float) -> Options:
        """Return `options` with such a coder wherever one is smaller and fast enough."""
        pairs = zip(options, self._tensors, strict=True)
        return tuple(self._best(option, samples, limit_s) for option, samples in pairs)

    def _best(self, option: Option, samples: Sequence[Array], limit_s: float) -> Option:
        if id(option) not in self._found:  # the list keeps the option, and so its id, alive
            longer = with_longer_fits(option, samples, self._clock)
            self._found[id(option)] = [option, *longer]
        found = self._found[id(option)]
        return min((o for o in found if o.time_s <= limit_s), key=lambda o: o.nbytes)


def _choose(
    measured: Sequence[Sequence[Option]], target: Target, shorter: _Shorter, judge: Judge | None
) -> Choice:
    limit_s = inf if target.time_s is None else target.time_s / len(measured)
    fronts = [_front(options, limit_s) for options in measured]
    steps = list(_walk(fronts))
    if target.nbytes is not None:
        options = _within_bytes(steps, target.nbytes, lambda found: shorter(found, limit_s))
    elif target.error is not None:
        options = shorter(_within_error(fronts, target.error), limit_s)
    else:
        assert judge is not None and target.accuracy is not None
        options = shorter(_within_accuracy(steps, target.accuracy, judge), limit_s)
    return _explain(options, steps, target)


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


def _walk(fronts: Sequence[list[Option]]) -> Iterator[Options]:
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


def _total_error(options: Sequence[Option]) -> float:
    return sum(option.error for option in options)


def _within_bytes(
    steps: Sequence[Options], nbytes: float, shorten: Callable[[Options], Options]
) -> Options:
    """Return the step of least error that fits once it is shortened."""
    near = [options for options in steps if _total(options) <= nbytes * _NEARLY]
    for options in sorted(near, key=_total_error):
        shortened = shorten(options)
        if _total(shortened) <= nbytes:
            return shortened
    raise CodecError(
        f"no codec meets {nbytes:g} bytes a sample, the smallest takes {_total(steps[0]):.0f}"
    )


def _within_error(fronts: Sequence[list[Option]], error: float) -> Options:
    found = []
    for front in fronts:
        good = [option for option in front if option.error <= error]
        if not good:
            raise CodecError(
                f"no codec meets an error of {error:g}, the best is {front[-1].error:g}"
            )
        found.append(good[0])
    return tuple(found)


def _within_accuracy(steps: Sequence[Options], accuracy: float, judge: Judge) -> Options:
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


def _explain(options: Options, steps: Sequence[Options], target: Target) -> Choice:
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
