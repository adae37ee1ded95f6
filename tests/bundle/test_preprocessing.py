"""The closed list of preprocessing steps."""

from __future__ import annotations

from typing import Any

import pytest

from splitnet.bundle.preprocessing import check_step
from splitnet.errors import BundleError

GOOD: list[dict[str, Any]] = [
    {"op": "resize", "size": 256},
    {"op": "resize", "size": [240, 320]},
    {"op": "crop", "size": 224},
    {"op": "letterbox", "size": 416, "fill": 114},
    {"op": "letterbox", "size": [320, 416]},
    {"op": "channels", "order": "BGR"},
    {"op": "scale", "by": 255.0},
    {"op": "mean", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    {"op": "layout", "to": "CHW"},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "op: unknown step None"),
    ({"op": "resise", "size": 3}, "unknown step 'resise' .did you mean 'resize'"),
    ({"op": "resize"}, "size: is missing"),
    ({"op": "resize", "size": 0}, "size: must be a side"),
    ({"op": "resize", "size": True}, "size: must be a side"),
    ({"op": "resize", "size": [1, 2, 3]}, "size: must be a side"),
    ({"op": "resize", "size": 20_000}, "from 1 to 16384"),
    ({"op": "resize", "size": 3, "mode": "cubic"}, "mode: unknown key"),
    ({"op": "crop", "size": [3, 3]}, "size: must be a number of pixels"),
    ({"op": "letterbox", "size": 3, "fill": 256}, "fill: must be a whole number from 0 to 255"),
    ({"op": "scale", "by": 0}, "by: must be a number above 0"),
    ({"op": "scale", "by": float("nan")}, "by: must be a number above 0"),
    ({"op": "mean", "mean": [], "std": []}, "mean: must be a list"),
    ({"op": "mean", "mean": [0.5], "std": [0.0]}, "std: must be a list"),
    ({"op": "mean", "mean": [0.5], "std": [0.5, 0.5]}, "1 means but 2 standard deviations"),
    ({"op": "channels", "order": "RGB"}, 'order: must be "BGR"'),
    ({"op": "layout", "to": "HWC"}, 'to: must be "CHW"'),
]


@pytest.mark.parametrize("step", GOOD, ids=str)
def test_known_steps_pass(step: dict[str, Any]) -> None:
    check_step(step, "step")


@pytest.mark.parametrize(("step", "message"), BAD, ids=[m for _, m in BAD])
def test_anything_else_is_named(step: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=f"^step.*{message}"):
        check_step(step, "step")
