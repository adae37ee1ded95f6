"""Heads of exits: the form of what they say, how wide they are, where they look."""

from __future__ import annotations

import pytest
import torch

from splitnet.training.heads import ResidualHead, make_head


@pytest.mark.parametrize(
    ("features", "output"),
    [
        ((16, 32, 32), (64, 10)),
        ((16, 8, 8), (64, 10)),
        ((3, 21, 17), (16, 4)),  # sides that are no multiple of the page
        ((16, 32, 32), (10,)),
        ((5, 7, 3), (10,)),
        ((4, 1, 1), (2,)),
        ((4, 4, 4), (7, 3)),  # seven labels are no square page
        ((4, 2, 2), (64, 10)),  # a map smaller than the page
        ((20,), (10,)),
        ((6, 20), (3,)),
    ],
)
def test_a_head_gives_the_form_of_the_output(
    features: tuple[int, ...], output: tuple[int, ...]
) -> None:
    head = make_head(features, output, budget_flops=1e6)
    assert head(torch.zeros(2, *features)).shape == (2, *output)


def test_a_page_head_looks_at_the_right_cell() -> None:
    head = make_head((1, 16, 16), (16, 2), budget_flops=1e6)
    page = torch.zeros(1, 1, 16, 16)
    blank = head(page)
    page[0, 0, 4:8, 8:12] = 1.0  # the third cell of the second row
    moved = (head(page) - blank).abs().sum(2)[0]
    assert int(moved.argmax()) == 6


def test_a_larger_budget_makes_a_wider_head_within_bounds() -> None:
    widths = [
        sum(p.numel() for p in make_head((16, 32, 32), (10,), budget).parameters())
        for budget in (0.0, 3e6, 1e12)
    ]
    assert widths[0] < widths[1] < widths[2]


def test_a_residual_head_halves_the_map_where_it_widens() -> None:
    head = ResidualHead(16, 10, (32, 32, 64)).eval()
    assert head(torch.zeros(2, 16, 32, 32)).shape == (2, 10)
    adapted = ResidualHead(16, 10, (32,), adapted=True)
    assert adapted(torch.zeros(2, 16, 32, 32)).shape == (2, 10)
    assert head.blocks(torch.zeros(1, 16, 32, 32)).shape == (1, 64, 8, 8)
