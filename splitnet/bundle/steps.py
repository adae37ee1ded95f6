"""What closed lists of steps share: a step names its operation and bears that one's arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from splitnet.config import nearest
from splitnet.errors import BundleError

Argument: TypeAlias = tuple[Callable[[object], bool], str]
"""What is valid, and how to say it."""


def check_known_step(
    step: Mapping[str, Any],
    known: Mapping[str, Mapping[str, Argument]],
    where: str,
    noun: str,
    optional: tuple[str, ...] = (),
) -> str:
    """Return the operation of `step`, one of the `known` with their arguments.

    Parameters
    ----------
    where
        Place of the step, for the message.
    noun
        What a step of this list is called.
    optional
        Arguments that may be left out.

    Raises
    ------
    BundleError
        The operation is unknown, or an argument is unknown, missing or wrong.
    """
    op = step.get("op")
    if not isinstance(op, str) or op not in known:
        hint = nearest(op, known) if isinstance(op, str) else ""
        raise BundleError(
            f"{where}.op: unknown {noun} {op!r}{hint}; known: {', '.join(sorted(known))}"
        )
    arguments = known[op]
    for key in step:
        if key != "op" and key not in arguments:
            raise BundleError(f"{where}.{key}: unknown key{nearest(key, arguments)}")
    for key, (is_valid, meaning) in arguments.items():
        if key not in step:
            if key in optional:
                continue
            raise BundleError(f"{where}.{key}: is missing; it must be {meaning}")
        if not is_valid(step[key]):
            raise BundleError(f"{where}.{key}: must be {meaning}, is {step[key]!r}")
    return op
