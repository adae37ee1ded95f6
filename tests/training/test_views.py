"""Changed copies of the training data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from splitnet.training.views import Views
from tests.training.conftest import colour_data

ROWS = np.arange(12)


def test_without_changes_the_samples_are_as_they_are() -> None:
    data, views = colour_data(12, 0), Views()
    assert views.plain and views.number(5) == 0
    assert np.array_equal(views.inputs(data, 0, ROWS).numpy(), data.inputs(list(range(12))))


def test_a_copy_is_the_same_whenever_it_is_asked_for() -> None:
    data, views = colour_data(12, 0), Views(flip=True, shift=3, mix=0.5, count=4)
    first = views.inputs(data, 1, ROWS)
    assert torch.equal(first[5:8], views.inputs(data, 1, ROWS[5:8]))
    assert not torch.equal(first, views.inputs(data, 2, ROWS))
    assert [views.number(epoch) for epoch in range(6)] == [0, 1, 2, 3, 0, 1]
    assert Views(flip=True, count=0).number(9) == 9


def test_a_flip_mirrors_and_a_shift_reflects() -> None:
    data = colour_data(40, 0)
    rows = np.arange(40)
    x = torch.from_numpy(data.inputs(rows.tolist()))
    flipped = Views(flip=True).inputs(data, 0, rows)
    same = [torch.equal(a, b) for a, b in zip(flipped, x, strict=True)]
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True)) and 5 < sum(same) < 35
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
    crops = {
        crop.numpy().tobytes()
        for image in padded
        for down in range(5)
        for right in range(5)
        for crop in [image[:, down : down + 16, right : right + 16].contiguous()]
    }
    moved = Views(shift=2).inputs(data, 0, rows)
    assert {image.contiguous().numpy().tobytes() for image in moved} <= crops


def test_a_mixed_sample_lies_between_two() -> None:
    data = colour_data(60, 0)
    rows = np.arange(60)
    x = torch.from_numpy(data.inputs(rows.tolist()))
    mixed = Views(mix=0.5).inputs(data, 0, rows)
    kept = sum(torch.equal(a, b) for a, b in zip(mixed, x, strict=True))
    assert 15 < kept < 45
    assert mixed.min() >= x.min() and mixed.max() <= x.max()


def test_a_square_of_a_sample_is_another_ones() -> None:
    data = colour_data(60, 0)
    rows = np.arange(60)
    x = torch.from_numpy(data.inputs(rows.tolist()))
    cut = Views(cutmix=0.5).inputs(data, 0, rows)
    kept = [torch.equal(a, b) for a, b in zip(cut, x, strict=True)]
    assert 15 < sum(kept) < 50
    others = x.flatten(2).unsqueeze(1) == cut.flatten(2).unsqueeze(0)
    assert others.all(2).any(0).all(), "every pixel is that of some sample at its place"
    both = Views(mix=0.5, cutmix=0.5).inputs(data, 0, rows)
    assert sum(torch.equal(a, b) for a, b in zip(both, x, strict=True)) < 8, "tiny squares"
    assert Views(mix=0.5).key != Views(mix=0.5, cutmix=0.1).key


def test_what_is_no_image_is_mixed_instead() -> None:
    values = np.arange(12, dtype=np.float32)[:, None]
    data = replace(colour_data(12, 0), inputs=lambda rows: values[list(rows)])
    found = Views(cutmix=1.0).inputs(data, 0, ROWS)
    assert found.shape == (12, 1) and not np.array_equal(found.numpy(), values)
