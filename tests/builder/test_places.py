"""Where exit and bottleneck stand."""

from __future__ import annotations

import pytest

from splitnet.builder.boundaries import Choice
from splitnet.builder.cuts import Cut
from splitnet.builder.places import choose_places
from splitnet.errors import PartitionError, UnknownNameError
from splitnet.values import TensorSpec


def _cut(name: str, percent: int, *dims: int | str, dtype: str = "float32") -> Cut:
    spec = TensorSpec(name, dtype, ("N", *dims))
    return Cut(f"{name}:relu:0", (name,), (spec,), 4, percent, 100 - percent, module=name)


CUTS = (
    _cut("early", 10, 8, 16, 16),
    _cut("third", 36, 8, 16, 16),
    _cut("half", 55, 16, 8, 8),
    _cut("flat", 51, 64),
    _cut("tokens", 95, 64),
    _cut("steps", 60, "T", 64),
    _cut("words", 70, 8, dtype="int64"),
)


def _choices(*names: str) -> list[Choice]:
    return [Choice(cut, cut.module, "") for cut in CUTS if cut.module in names]


def test_automatic_places() -> None:
    found = choose_places(_choices("early", "third", "half", "flat"), CUTS, "auto", "auto")
    assert ([e.boundary for e in found.exits], found.bottleneck) == ([2], 3)
    assert found.notes[0] == "exit at third, chosen automatically: 36% of the work is done there"
    assert found.notes[1].startswith("bottleneck at half, chosen automatically: 55%")


def test_named_places() -> None:
    found = choose_places(_choices("early", "third", "flat"), CUTS, "flat", "early:relu:0")
    assert ([e.boundary for e in found.exits], found.bottleneck) == ([3], 1)
    assert "as asked for" in found.notes[0]


def test_several_exits_stand_in_the_order_of_the_network() -> None:
    found = choose_places(_choices("early", "third", "half"), CUTS, "half,early,half", "none")
    places = [(e.name, e.boundary, e.done) for e in found.exits]
    assert places == [("early", 1, 0.1), ("half", 3, 0.55)]


def test_an_automatic_prefilter_stands_at_the_first_boundary() -> None:
    choices = _choices("early", "third")
    for at, boundary in (("auto", 1), ("third", 2), ("input", 0)):
        found = choose_places(choices, CUTS, "none", "none", at)
        assert found.prefilter is not None and found.prefilter.boundary == boundary
        assert found.notes[2].startswith("prefilter at ")
    assert choose_places(choices, CUTS, "none", "none").prefilter is None


def test_an_exit_at_the_input() -> None:
    found = choose_places(_choices("early", "third"), CUTS, "third,input", "none")
    assert [(e.name, e.boundary, e.done) for e in found.exits] == [
        ("input", 0, 0.0),
        ("third", 2, 0.36),
    ]


def test_none() -> None:
    found = choose_places(_choices("third"), CUTS, "none", "none")
    assert (found.exits, found.bottleneck) == ((), None)
    assert found.notes == ("no exit, as asked for", "no bottleneck, as asked for")


def test_nothing_fits() -> None:
    found = choose_places(_choices("tokens"), CUTS, "auto", "auto")  # late, and not an image
    assert (found.exits, found.bottleneck) == ((), None)
    assert found.notes[0] == "no exit: no boundary is fit for one"


@pytest.mark.parametrize(
    ("exit_at", "bottleneck_at", "message"),
    [
        ("auto", "flat", r"no bottleneck can stand at 'flat': .*\(N, C, H, W\)"),
        ("steps", "auto", "no exit can stand at 'steps': .*dynamic"),
        ("words", "auto", "no exit can stand at 'words': .*int64"),
    ],
)
def test_places_that_do_not_suit(exit_at: str, bottleneck_at: str, message: str) -> None:
    with pytest.raises(PartitionError, match=message):
        choose_places(_choices(*(c.module for c in CUTS)), CUTS, exit_at, bottleneck_at)


def test_an_unknown_place() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'third'"):
        choose_places(_choices(*(c.module for c in CUTS)), CUTS, "thrid", "auto")
