"""The choice of the cuts at which the files of a bundle part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splitnet.builder.cuts import Cut, resolve_cut
from splitnet.errors import PartitionError

MIN_SHARE = 0.01
"""A boundary with less of the model's work than this on one side is not chosen automatically:
there is nothing left to split."""


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
    limit: int = 8,
) -> tuple[Choice, ...]:
    """Return the interior boundaries in the order of the computation.

    Named cuts are all taken. Without `wanted`, the work of the model is divided into `limit` equal
    slices, and each slice that holds no named cut gives the cut with the smallest tensor in it,
    the earliest of equals (it asks least of the device); if these are too many, those with the
    smallest tensors stay. So boundaries are spread over the work, and each is the cheapest to send
    in its neighbourhood. More would cost time: each segment is a session of its own.

    Parameters
    ----------
    wanted
        Cuts that the user named; ``None`` asks for the automatic choice.
    must
        Cuts that a bottleneck or an exit needs.

    Raises
    ------
    UnknownNameError
        An unknown cut.
    PartitionError
        A barred cut, or more named ones than `limit`.
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
    if wanted is None and limit:
        taken = {_slice(cut, limit) for cut in choices}
        found = [c for c in _cheapest(cuts, limit) if _slice(c.cut, limit) not in taken]
        found.sort(key=lambda choice: choice.cut.bytes)
        choices |= {choice.cut: choice for choice in found[: limit - len(choices)]}
    return tuple(choices[cut] for cut in cuts if cut in choices)


def _cheapest(cuts: Iterable[Cut], slices: int) -> Iterable[Choice]:
    """Yield the smallest cut of each slice of the work."""
    best: dict[int, Cut] = {}
    for cut in cuts:
        if not cut.barred and MIN_SHARE <= _share(cut) <= 1 - MIN_SHARE:
            place = _slice(cut, slices)
            if place not in best or cut.bytes < best[place].bytes:
                best[place] = cut
    for place, cut in best.items():
        first, last = (round(100 * edge / slices) for edge in (place, place + 1))
        yield Choice(
            cut, cut.id, f"smallest tensor ({cut.bytes} B) from {first} % to {last} % of the work"
        )


def _share(cut: Cut) -> float:
    """Return the share of the model's work that is done before `cut`."""
    return cut.flops_before / ((cut.flops_before + cut.flops_after) or 1)


def _slice(cut: Cut, slices: int) -> int:
    return min(int(_share(cut) * slices), slices - 1)
