"""Boundaries: those that were asked for, or the cheapest of each slice of the work."""

from __future__ import annotations

import pytest

from splitnet.builder.boundaries import choose_boundaries
from splitnet.builder.cuts import Cut
from splitnet.errors import PartitionError, UnknownNameError
from splitnet.values import TensorSpec


def cut(name: str, floats: int, done: int, barred: str = "", module: str = "") -> Cut:
    """Return a cut of `floats` numbers after `done` of 1000 FLOPs."""
    spec = TensorSpec(name, "float32", ("N", floats))
    return Cut(name, (name,), (spec,), 4 * floats, done, 1000 - done, module, barred)


CUTS = (
    cut("early", 1, 5),
    cut("a", 64, 100, module="stem"),
    cut("b", 32, 200, barred="it lies between Conv and its activation"),
    cut("c", 48, 240, module="layer1.0"),
    cut("d", 48, 400, module="layer1.1"),
    cut("e", 16, 600),
    cut("f", 8, 740),
    cut("g", 4, 900),
    cut("late", 1, 995),
)


def names(**options: object) -> list[str]:
    """Return the names of the boundaries chosen from CUTS."""
    return [choice.name for choice in choose_boundaries(CUTS, **options)]  # type: ignore[arg-type]


def test_automatic_choice_takes_the_smallest_of_each_slice() -> None:
    choices = choose_boundaries(CUTS, limit=4)
    assert [choice.name for choice in choices] == ["c", "d", "f", "g"]
    assert choices[0].reason == "smallest tensor (192 B) from 0 % to 25 % of the work"


def test_automatic_choice_takes_the_earliest_of_equals() -> None:
    assert names(limit=2) == ["c", "g"]


def test_automatic_choice_leaves_out_cuts_with_nothing_to_split() -> None:
    assert not {"early", "late", "b"} & set(names(limit=100))


def test_needed_cuts_take_the_place_of_automatic_ones() -> None:
    assert names(must=["e"], limit=3) == ["c", "e", "g"]
    assert names(must=["a", "c"], limit=3) == ["a", "c", "g"]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8])
def test_limit_holds(limit: int) -> None:
    assert len(names(limit=limit)) <= limit


def test_named_cuts_keep_their_names_and_get_the_order_of_the_computation() -> None:
    assert names(wanted=["f", "layer1"], must=["a", "d"]) == ["a", "layer1", "f"]
    reasons = {choice.name: choice.reason for choice in choose_boundaries(CUTS, ["f"], ["a"])}
    assert reasons == {"f": "asked for", "a": "a bottleneck or an exit is there"}


def test_no_automatic_choice_beside_an_empty_wish() -> None:
    assert names(wanted=[]) == []


def test_more_named_cuts_than_allowed() -> None:
    with pytest.raises(PartitionError, match=r"3 boundaries are named \(a, c, d\) but at most 2"):
        choose_boundaries(CUTS, ["a", "c", "d"], limit=2)


def test_barred_and_unknown_names() -> None:
    with pytest.raises(PartitionError, match=r"'b' .*between Conv and its activation; cut at 'c'"):
        choose_boundaries(CUTS, ["b"])
    with pytest.raises(UnknownNameError, match=r"no cut 'layer2'.*'layer1'"):
        choose_boundaries(CUTS, ["layer2"])
