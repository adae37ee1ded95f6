"""Where the early exits and the bottleneck of a bundle stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splitnet.builder.boundaries import Choice
from splitnet.builder.cuts import Cut, resolve_cut
from splitnet.errors import PartitionError

AUTO, NONE = "auto", "none"

INPUT = "input"
"""Place of an exit that is a network of its own and reads the input."""

EXIT_SHARE = 1 / 3
"""Part of the work after which an automatic exit stands: early enough to save most of it."""

PREFILTER_SHARE = 0.0
"""An automatic prefilter stands at the first boundary: what it skips shall cost little."""

BOTTLENECK_SHARE = 1 / 2
"""Part of the work after which an automatic bottleneck stands: features are already small, and
half of the work still moves to the cloud."""

LAST_EXIT_SHARE = 0.9
"""Behind this part of the work an exit saves nothing and is not chosen automatically."""


@dataclass(frozen=True, slots=True)
class ExitPlace:
    """Where an exit stands: its name, its boundary, and the part of the work done there."""

    name: str
    boundary: int
    done: float


@dataclass(frozen=True, slots=True)
class Places:
    """The exits in the order of their boundaries, the bottleneck's boundary if any, and why.

    Attributes
    ----------
    prefilter
        Where the prefilter stands, ``None`` if there is none.
    """

    exits: tuple[ExitPlace, ...]
    bottleneck: int | None
    notes: tuple[str, ...]
    prefilter: ExitPlace | None = None


def choose_places(
    choices: Sequence[Choice],
    cuts: Sequence[Cut],
    exit_at: str,
    bottleneck_at: str,
    prefilter_at: str | None = None,
) -> Places:
    """Return where to learn exits, a bottleneck and a prefilter.

    Parameters
    ----------
    choices
        The interior boundaries; number 1 is the first of them.
    exit_at
        Cuts among `choices`, joined by commas, ``input``, ``auto`` or ``none``.
    bottleneck_at
        A cut among `choices`, ``auto`` or ``none``.
    prefilter_at
        A cut among `choices`, ``input`` or ``auto``; ``None`` if there is to be none.

    Raises
    ------
    PartitionError
        The tensor of a named cut is not of a form that can be learned from.
    """
    found = [_exit_place("exit", at, choices, cuts, EXIT_SHARE) for at in exit_at.split(",")]
    standing = [(INPUT, 0.0), *((choice.name, work_share(choice.cut)) for choice in choices)]
    exits = [
        ExitPlace(standing[number][0], number, standing[number][1])
        for number in sorted({number for number, _ in found if number is not None})
    ]
    exit_notes = [note for _, note in found]
    bottleneck, bottleneck_note = _place(
        "bottleneck", bottleneck_at, choices, cuts, BOTTLENECK_SHARE, _unfit_for_bottleneck, 1.0
    )
    notes = [*exit_notes, bottleneck_note]
    prefilter = None
    if prefilter_at is not None:
        number, note = _exit_place("prefilter", prefilter_at, choices, cuts, PREFILTER_SHARE)
        notes.append(note)
        if number is not None:
            prefilter = ExitPlace(standing[number][0], number, standing[number][1])
    return Places(tuple(exits), bottleneck, tuple(notes), prefilter)


def work_share(cut: Cut) -> float:
    """Return the part of the network's FLOPs that is done before `cut`."""
    return cut.flops_before / ((cut.flops_before + cut.flops_after) or 1)


def _exit_place(
    what: str, at: str, choices: Sequence[Choice], cuts: Sequence[Cut], share: float
) -> tuple[int | None, str]:
    """Return where a head stands that may also stand at the input."""
    if at == INPUT:
        return 0, f"{what} at the input, as asked for"
    return _place(what, at, choices, cuts, share, _unfit_for_exit, LAST_EXIT_SHARE)


def _place(
    what: str,
    at: str,
    choices: Sequence[Choice],
    cuts: Sequence[Cut],
    share: float,
    unfit: Callable[[Cut], str],
    last_share: float,
) -> tuple[int | None, str]:
    if at == NONE:
        return None, f"no {what}, as asked for"
    if at != AUTO:
        cut = resolve_cut(at, cuts)
        if unfit(cut):
            raise PartitionError(f"no {what} can stand at {at!r}: {unfit(cut)}; choose another cut")
        number = 1 + [choice.cut for choice in choices].index(cut)
        return number, f"{what} at {at}, as asked for"
    fit = [
        (abs(work_share(choice.cut) - share), number, choice)
        for number, choice in enumerate(choices, 1)
        if not unfit(choice.cut) and work_share(choice.cut) <= last_share
    ]
    if not fit:
        return None, f"no {what}: no boundary is fit for one"
    _, number, choice = min(fit, key=lambda candidate: candidate[:2])
    done = f"{work_share(choice.cut):.0%} of the work is done there"
    return number, f"{what} at {choice.name}, chosen automatically: {done}"


def _unfit_for_exit(cut: Cut) -> str:
    if not cut.single:
        return f"{len(cut.tensors)} tensors cross there, one is needed"
    (spec,) = cut.specs
    if spec.dtype != "float32":
        return f"its tensor is {spec.dtype}, float32 is needed"
    if any(isinstance(size, str) for size in spec.dims[1:]):
        return f"its tensor has a dynamic size, {spec.dims}"
    return ""


def _unfit_for_bottleneck(cut: Cut) -> str:
    if cut.single and len(cut.specs[0].dims) != 4:
        return f"its tensor has the shape {cut.specs[0].dims}, (N, C, H, W) is needed"
    return _unfit_for_exit(cut)
