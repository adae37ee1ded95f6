"""What a kind of device may be off."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.builder.tolerance import TOLERANCES, tolerance_of
from splitnet.devices import DEVICE_CLASSES
from splitnet.errors import ConfigError, UnknownNameError

DOCUMENT = Path(__file__).parents[2] / "docs" / "verify.md"


@pytest.mark.parametrize("name", DEVICE_CLASSES)
def test_every_device_class_has_a_tolerance(name: str) -> None:
    found = tolerance_of(name)
    kind = "float16" if name.endswith("-gpu") else "aarch64"
    assert found.name == name
    assert found.exact == TOLERANCES[kind].exact


def test_this_machine_has_one() -> None:
    assert tolerance_of(None) in TOLERANCES.values()


def test_the_page_lists_every_kind() -> None:
    text = DOCUMENT.read_text()
    for kind in TOLERANCES.values():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{kind.name}`")]
        figures = [float(cell) for cell in row.split("|")[2:5]]
        assert figures == [kind.exact, kind.quantised, kind.int8]


def test_a_tolerance_that_was_given_counts() -> None:
    tight = tolerance_of("float16", 1e-6)
    assert (tight.exact, tight.quantised) == (1e-6, TOLERANCES["float16"].quantised)
    wide = tolerance_of("x86-64", 0.5)
    assert (wide.exact, wide.quantised, wide.int8) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("exact", [0.0, -1.0, float("nan"), float("inf")])
def test_no_tolerance(exact: float) -> None:
    with pytest.raises(ConfigError, match="--tolerance is"):
        tolerance_of(None, exact)


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"'aarch46' \(did you mean 'aarch64'.*jetson-nano"):
        tolerance_of("aarch46")
