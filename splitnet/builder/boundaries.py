"""The choice of the cuts at which the files of a bundle part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from splitnet.builder.cuts import Cut, resolve_cut
from splitnet.errors import PartitionError

MAX_BOUNDARIES = 12
"""Most interior boundaries unless the user asks for more: each segment is a session of its own."""

JOINT_GAIN = 0.8
"""A cut of several tensors pays only if it takes fewer bytes than this share of those of every
single tensor before it and beside it: every tensor more costs a codec and a copy."""

MIN_SHARE = 0.01
"""A boundary with less of the model's work than this on one side is not chosen automatically:
there is nothing left to split."""


EARLY_SHARE = 1 / 3
"""Part of the work in which a cut that sends more than the input is not chosen if a later one in
it sends less. Measured: two such cuts cost MobileNetV2 7 % of its time, ten others 10 %."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A cut that becomes a boundary.

    Attributes
    ----------
    cut
        The cut itself.
    name
        Short name of its exact path: what the user called it, else the id of the cut.
    reason
        Why it was chosen, for people.
    """

    cut: Cut
    name: str
    reason: str


def choose_boundaries(
    cuts: Sequence[Cut],
    wanted: Sequence[str] | None = None,
    must: Sequence[str] = (),
    limit: int = MAX_BOUNDARIES,
    input_bytes: int = 0,
) -> tuple[Choice, ...]:
    """Return the interior boundaries in the order of the computation.

    Named cuts are all taken. Without `wanted`, the work of the model is divided into `limit` equal
    slices, and each slice that holds no named cut gives the cut with the fewest bytes in it, the
    earliest of equals (it asks least of the device); if these are too many, those with the fewest
    bytes stay. So boundaries are spread over the work, and each is the cheapest to send in its
    neighbourhood. A cut of several tensors must be clearly cheaper than every single tensor up to
    its slice: else the device does less and sends less at an earlier cut. A cut that does not
    follow on those chosen already, as in a parallel branch, is left out.

    Parameters
    ----------
    wanted
        Cuts that the user named; ``None`` asks for the automatic choice.
    must
        Cuts that a bottleneck or an exit needs.
    input_bytes
        Size of one sample of the inputs; 0 if it does not matter.

    Raises
    ------
    UnknownNameError
        An unknown cut.
    PartitionError
        A barred cut, named ones that do not follow on each other, or more than `limit`.
    """
    choices: dict[Cut, Choice] = {}
    for names, reason in ((wanted or (), "asked for"), (must, "a bottleneck or an exit is there")):
        for name in names:
            cut = resolve_cut(name, cuts)
            choices.setdefault(cut, Choice(cut, name, reason))
    if len(choices) > limit:
        named = ", ".join(choice.name for choice in choices.values())
        raise PartitionError(
            f"{len(choices)} boundaries are named ({named}) but at most {limit} are allowed: "
            "name fewer or raise --max-boundaries"
        )
    _check_chain(list(choices.values()))
    if wanted is None and limit:
        slices = _Slices(cuts, limit, input_bytes)
        taken = {slices.of(cut) for cut in choices}
        found = [choice for choice in slices.cheapest() if slices.of(choice.cut) not in taken]
        for choice in sorted(found, key=lambda choice: choice.cut.bytes):
            if len(choices) < limit and all(_nested(choice.cut, cut) for cut in choices):
                choices[choice.cut] = choice
    return tuple(choices[cut] for cut in cuts if cut in choices)


def _check_chain(choices: Sequence[Choice]) -> None:
    for number, choice in enumerate(choices):
        for other in choices[:number]:
            if not _nested(choice.cut, other.cut):
                raise PartitionError(
                    f"{other.name} and {choice.name} cut parallel branches: neither lies before "
                    "the other, so they cannot be boundaries of one bundle"
                )


def _nested(a: Cut, b: Cut) -> bool:
    """Return whether one of two cuts lies before the other."""
    return a.before | b.before in (a.before, b.before)


class _Slices:
    """Equal slices of the work, from the first cut that may be chosen on.

    Large tensors cost time at a boundary even if they are never sent, so the work is divided only
    after those at its beginning that are larger than the input.
    """

    def __init__(self, cuts: Sequence[Cut], count: int, input_bytes: int) -> None:
        fit = [c for c in cuts if not c.barred and MIN_SHARE <= _share(c) <= 1 - MIN_SHARE]
        small = (c for c in fit if c.bytes < input_bytes and _share(c) <= EARLY_SHARE)
        first = next(small, None)
        self._start = 0.0 if first is None else _share(first)
        self._count = count
        self._fit = [c for c in fit if _share(c) >= self._start]

    def of(self, cut: Cut) -> int:
        """Return the number of the slice in which `cut` lies."""
        part = (_share(cut) - self._start) / ((1 - self._start) or 1)
        return min(int(part * self._count), self._count - 1)

    def cheapest(self) -> Iterator[Choice]:
        """Yield the cheapest cut of each slice."""
        best: dict[int, Cut] = {}
        for cut in sorted(self._fit, key=lambda cut: not cut.single):
            place = self.of(cut)
            rivals = [other for at, other in best.items() if at <= place]
            if not cut.single and not _pays(cut, rivals):
                continue
            if place not in best or cut.bytes < best[place].bytes:
                best[place] = cut
        for place, cut in best.items():
            first, last = (
                round(100 * (self._start + (1 - self._start) * edge / self._count))
                for edge in (place, place + 1)
            )
            what = "smallest tensor" if cut.single else f"fewest bytes, {len(cut.tensors)} tensors"
            yield Choice(
                cut, cut.id, f"{what} ({cut.bytes} B) from {first} % to {last} % of the work"
            )


def _pays(cut: Cut, rivals: Iterable[Cut]) -> bool:
    """Return whether several tensors are worth a boundary, given what is before and beside it."""
    return all(
        cut.bytes < JOINT_GAIN * rival.bytes if rival.single else cut.bytes <= rival.bytes
        for rival in rivals
    )


def _share(cut: Cut) -> float:
    """Return the share of the model's work that is done before `cut`."""
    return cut.flops_before / ((cut.flops_before + cut.flops_after) or 1)
