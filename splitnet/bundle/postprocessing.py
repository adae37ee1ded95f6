"""The closed list of postprocessing steps that a contract may name (docs/bundle.md).

A step says what the contract's postprocess graph computes, so that a reader knows what the tensors
of an answer mean; the graph itself is made by ``splitnet build``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitnet.bundle.steps import Argument, check_known_step
from splitnet.errors import BundleError
from splitnet.values import TensorSpec

MAX_FOUND = 10_000
"""Most labels or boxes that a step may keep."""

BOX_FORMS = ("yolox", "centre")
"""How a detector writes its boxes (docs/bundle.md)."""


def check_postprocess_step(step: Mapping[str, Any], where: str) -> None:
    """Raise `BundleError` unless `step` is one of the closed list, at the place `where`."""
    check_known_step(step, STEPS, where, "postprocess")


def check_answer(step: Mapping[str, Any], tensors: Sequence[TensorSpec], where: str) -> None:
    """Raise `BundleError` unless `tensors` bear the names of what the checked `step` gives."""
    wanted, found = ANSWERS[step["op"]], tuple(tensor.name for tensor in tensors)
    if found != wanted:
        raise BundleError(
            f"{where}: are {', '.join(found)}; {step['op']} gives {', '.join(wanted)}"
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_FOUND


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


_COUNT = (_is_count, f"a whole number from 1 to {MAX_FOUND}")
_SHARE = (_is_share, "a number from 0 to 1")

STEPS: Mapping[str, Mapping[str, Argument]] = {
    "softmax": {},
    "top-k": {"k": _COUNT},
    "nms": {
        "score": _SHARE,
        "iou": _SHARE,
        "max": _COUNT,
        "boxes": (lambda value: value in BOX_FORMS, f"one of {', '.join(BOX_FORMS)}"),
    },
}
"""The arguments of each step: what is valid, and how to say it."""

ANSWERS: Mapping[str, tuple[str, ...]] = {
    "softmax": ("probabilities",),
    "top-k": ("labels", "probabilities"),
    "nms": ("boxes",),
}
"""Names of the tensors that each step gives."""
