"""The closed list of preprocessing steps that a contract may name (docs/bundle.md).

The steps are only checked here; ``splitnet.runtime`` carries them out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from splitnet.bundle.steps import Argument, check_known_step
from splitnet.errors import BundleError

MAX_SIDE = 16_384
"""Largest width or height that a step may ask for, in pixels."""


def check_step(step: Mapping[str, Any], where: str) -> None:
    """Raise `BundleError` unless `step` is one of the closed list, at the place `where`."""
    op = check_known_step(step, _STEPS, where, "step", _OPTIONAL)
    if op == "mean" and len(step["mean"]) != len(step["std"]):
        raise BundleError(
            f"{where}: {len(step['mean'])} means but {len(step['std'])} standard deviations"
        )


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIDE


def _is_size(value: object) -> bool:
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2
    return _is_side(value) or (is_pair and all(map(_is_side, value)))  # type: ignore[call-overload]


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _is_number(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]


def _is_positive(value: object) -> bool:
    return _is_number(value) and value > 0  # type: ignore[operator]


def _list_of(is_valid: Callable[[object], bool]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(is_valid, value))

    return check


_OPTIONAL = ("fill",)
_SIDE = (_is_side, f"a number of pixels from 1 to {MAX_SIDE}")
_SIZE = (_is_size, f"a side or [height, width], each from 1 to {MAX_SIDE}")
_STEPS: Mapping[str, Mapping[str, Argument]] = {
    "resize": {"size": _SIZE},
    "crop": {"size": _SIDE},
    "letterbox": {"size": _SIZE, "fill": (_is_byte, "a whole number from 0 to 255")},
    "channels": {"order": (lambda value: value == "BGR", '"BGR"')},
    "scale": {"by": (_is_positive, "a number above 0")},
    "mean": {
        "mean": (_list_of(_is_number), "a list of numbers"),
        "std": (_list_of(_is_positive), "a list of numbers above 0"),
    },
    "layout": {"to": (lambda value: value == "CHW", '"CHW"')},
}
