"""The entropic recipe: the prior, levels that are prefixes, what is paid for."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from splitnet.codecs.base import Context, header_of
from splitnet.codecs.calibrating import calibrate
from splitnet.codecs.making import make_codec
from splitnet.errors import ConfigError, ModelError
from splitnet.training.blocks import Decoder, block_transform, doublings, halved
from splitnet.training.entropic import Entropic, EntropicStudent
from splitnet.training.entropic_config import EntropicConfig
from splitnet.training.prior import Prior
from splitnet.training.recipe import Batch, Form
from tests.training.conftest import TINY

FORM = Form((3, 16, 16), (8, 16, 16), True)


def _student(config: EntropicConfig = TINY) -> EntropicStudent:
    torch.manual_seed(0)
    student = Entropic(config).student(FORM, nn.Flatten())
    assert isinstance(student, EntropicStudent)
    return student


def test_the_prior_is_a_distribution_over_whole_numbers() -> None:
    prior = Prior(3)
    nn.init.normal_(prior.mean)
    nn.init.normal_(prior.scale)
    numbers = torch.arange(-120.0, 121.0).reshape(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    for step in (1.0, 0.5, 2.0):
        bits = prior.bits(step * numbers, torch.full((len(numbers),), step))
        assert torch.allclose(torch.exp2(-bits).sum(0), torch.ones(3), atol=1e-3)


def test_the_prior_adds_up_bits_for_each_channel() -> None:
    prior = Prior(2)
    latent = torch.randn(3, 2, 4, 5).round()
    one = torch.ones(1)
    bits = prior.bits(latent, torch.ones(3))
    alone = prior.bits(latent[1:2, :, 2:3, 3:4], one)
    assert bits.shape == (3, 2) and alone.shape == (1, 2)
    places = [(i, j) for i in range(4) for j in range(5)]
    parts = [prior.bits(latent[1:2, :, i : i + 1, j : j + 1], one) for i, j in places]
    assert torch.allclose(sum(parts, torch.zeros(1, 2)), bits[1:2], atol=1e-3)


def test_a_level_is_a_prefix_of_the_one_above() -> None:
    student = _student().eval()
    latent = 3 * torch.randn(2, 4, 4, 4)
    found = [student.cross(latent, torch.full((2,), level)) for level in range(3)]
    (fine, most), (middle, _), (coarse, least) = found
    assert torch.equal(fine, latent.round())
    assert torch.equal(middle[:, :2], fine[:, :2]) and not middle[:, 2:].any()
    assert torch.equal(coarse[:, :1], fine[:, :1]) and not coarse[:, 1:].any()
    assert (most > least).all()


STEPS = replace(TINY, channels=(2, 1, 4), steps=(2.0, 0.5, 0.5))


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (TINY, ["4 channels", "2 channels", "1 channel"]),
        (STEPS, ["4 channels, step 0.5", "1 channel, step 0.5", "2 channels, step 2"]),
    ],
)
def test_the_student_rounds_as_the_codec_does(config: EntropicConfig, names: list[str]) -> None:
    student = _student(config).eval()
    latent = 100 * torch.randn(8, 4, 4, 4)
    plans = Entropic(config).levels()
    assert [plan.name for plan in plans] == names
    for level, plan in enumerate(plans):
        found = calibrate(plan.codecs[0], [latent.numpy()])
        codec, context = make_codec(found.config), Context(found.tables)
        payload = codec.encode(latent[:1].numpy(), context)
        arrived = codec.decode(payload, header_of(latent[:1].numpy()), context)
        expected, _ = student.cross(latent[:1], torch.tensor([level]))
        assert np.array_equal(arrived, expected.numpy())


def test_gradients_pass_rounding_where_the_level_keeps_the_channel() -> None:
    student = _student().train()
    latent = torch.randn(1, 4, 4, 4, requires_grad=True)
    arrived, _ = student.cross(latent, torch.tensor([1]))
    arrived.sum().backward()  # type: ignore[no-untyped-call]
    assert latent.grad is not None
    assert (latent.grad[:, :2] == 1).all() and not latent.grad[:, 2:].any()


def test_bytes_cost_only_while_the_encoder_learns() -> None:
    recipe = Entropic(replace(TINY, rate_weight=1.0))
    student = _student().train()
    features, _, frozen = recipe.stages("relu:0")
    batch = Batch(torch.rand(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64))
    seen = replace(batch, features=(torch.rand(4, 8, 16, 16),))
    found = recipe.loss(features, student, seen)
    expected = found.figures["distortion"] + found.figures["bytes"]
    assert found.total.item() == pytest.approx(expected, rel=1e-4)
    asked = replace(batch, answers=torch.zeros(4, 8 * 16 * 16))
    found = recipe.loss(frozen, student, asked)
    assert found.total.item() == pytest.approx(found.figures["distortion"])


def test_a_byte_costs_by_the_square_of_the_step() -> None:
    recipe = Entropic(replace(STEPS, rate_weight=1.0))
    stage = recipe.stages("relu:0")[0]
    student = _student(STEPS).eval()
    prices = []
    for level in range(3):
        levels = torch.full((4,), level)
        batch = Batch(torch.rand(4, 3, 16, 16), levels, (torch.rand(4, 8, 16, 16),))
        found = recipe.loss(stage, student, batch)
        paid = found.total.item() - found.figures["distortion"]
        prices.append(paid / found.figures["bytes"])
    assert prices == pytest.approx([0.25, 0.25, 4], rel=1e-3)


def test_levels_are_drawn_by_their_weights() -> None:
    drawn = _student(replace(TINY, level_weights=(0.0, 1.0, 3.0))).draw(4000)
    shares = torch.bincount(drawn, minlength=3) / 4000
    assert shares.tolist() == pytest.approx([0.75, 0.25, 0], abs=0.05)


@pytest.mark.parametrize("sides", [(32, 32), (15, 9), (7, 7)])
def test_the_decoder_reaches_any_size(sides: tuple[int, int]) -> None:
    latent = (4, halved(sides[0], 2), halved(sides[1], 2))
    target = (8, *sides)
    widths = [8] * (doublings(latent, target) + 1)
    restored = Decoder(latent, target, widths, False)(torch.zeros(1, *latent))
    assert restored.shape == (1, *target)


IMAGES = Form((3, 16, 16), (3, 16, 16), False)


def test_a_student_with_blocks_begins_as_a_linear_codec() -> None:
    torch.manual_seed(0)
    smooth = nn.functional.interpolate(torch.randn(64, 3, 4, 4), size=16, mode="bilinear")
    config = replace(TINY, channels=(2, 12, 48), block_step=0.05)
    student = Entropic(config).student(IMAGES, nn.Flatten()).eval()
    student.start(smooth)
    errors, sizes = [], []
    with torch.inference_mode():
        for level in range(3):
            restored, bits = student(smooth, torch.full((64,), level))
            errors.append(float((restored - smooth).square().mean() / smooth.var()))
            sizes.append(float(bits.mean()))
    assert errors[0] < 1e-2 and errors == sorted(errors)
    assert sizes == sorted(sizes, reverse=True)


def test_the_block_transform_orders_by_variance_and_keeps_lengths() -> None:
    images = torch.randn(50, 2, 8, 8).cumsum(2)
    rows, mean = block_transform(images, 4)
    flat = rows.reshape(32, 32)
    assert torch.allclose(flat @ flat.t(), torch.eye(32), atol=1e-4)
    found = nn.functional.conv2d(images - mean.repeat(1, 2, 2), rows, stride=4)
    spread = found.var((0, 2, 3))
    assert (spread[:-1] >= spread[1:] - 1e-3).all()


@pytest.mark.parametrize("form", [FORM, Form((3, 15, 16), (3, 15, 16), False)])
def test_blocks_need_whole_blocks_of_one_shape(form: Form) -> None:
    with pytest.raises(ConfigError, match="block_step needs a source and a target of one shape"):
        Entropic(replace(TINY, block_step=0.5)).student(form, nn.Flatten())


def test_a_network_that_shall_not_learn_is_no_part_of_a_stage() -> None:
    stages = Entropic(replace(TINY, tail_rate=0.0)).stages("relu:0")
    assert [sorted(stage.rates) for stage in stages[1:]] == [
        ["decoder", "encoder", "prior"],
        ["decoder"],
    ]


def test_a_frozen_encoder_is_computed_in_full() -> None:
    student = _student().train()
    source, level = torch.rand(2, 3, 16, 16), torch.zeros(2, dtype=torch.int64)
    student.encoder.eval()
    with torch.autocast("cpu", torch.bfloat16):
        _, frozen = student(source, level)
    student.eval()
    _, full = student(source, level)
    assert torch.equal(frozen, full)


def test_levels_that_are_sent_one_after_the_other_restore_what_they_do_apart() -> None:
    config = replace(TINY, channels=(2, 4, 4), steps=(3.0, 3.0, 1.0), embedded=(0, 1, 2))
    recipe, student = Entropic(config), _student(config).eval()
    (plan,) = recipe.further_levels()
    assert plan.name == "3 parts"
    rng = np.random.default_rng(3)
    latents = (rng.laplace(size=(30, 1, 4, 4, 4)) * 4).astype(np.float32)
    found = calibrate(plan.codecs[0], list(latents))
    codec, context = make_codec(found.config), Context(found.tables)
    for latent in latents[:5]:
        sent = codec.encode_parts(latent, context)
        for number, level in enumerate((2, 1, 0), 1):
            arrived = codec.decode_parts(sent[:number], header_of(latent), context)
            expected, _ = student.cross(torch.from_numpy(latent), torch.tensor([level]))
            assert np.allclose(arrived, expected.numpy())


def test_without_a_wish_there_is_no_further_level() -> None:
    assert Entropic(TINY).further_levels() == ()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"channels": (4, 2)}, r"channels is \(4, 2\), must rise"),
    ({"channels": ()}, "must rise"),
    ({"channels": (1, 4, 2), "steps": (2.0, 1.0, 1.0)}, "must rise from at least 1 where"),
    ({"steps": (1.0, 0.5, 2.0)}, "steps is .*, must be above 0, finite, and never rise"),
    ({"steps": (1.0, 0.5, 0.0)}, "must be above 0"),
    ({"steps": (nan,) * 3}, "must be above 0, finite"),
    ({"steps": (1.0,)}, "steps has 1 numbers, channels has 3"),
    ({"level_weights": (1.0,)}, "level_weights has 1 numbers, channels has 3"),
    ({"level_weights": (1.0, -1.0, 1.0)}, "must be finite, not negative, and one above 0"),
    ({"level_weights": (1.0, nan, 1.0)}, "must be finite"),
    ({"level_weights": (0.0, 0.0, 0.0)}, "one above 0"),
    ({"joint_epochs": -3}, "joint_epochs is -3, must not be negative"),
    ({"rate_weight": nan}, "rate_weight is nan"),
    ({"decoder_widths": (8, 0, 8)}, "widths of at least 1"),
    ({"tail_rate": -1.0}, "tail_rate is -1, must not be negative"),
    ({"rate": 0.0}, "rate is 0.0, it must be above 0"),
    ({"encoder_widths": ()}, "widths of at least 1"),
    ({"steps": (3.0, 1.0, 1.0), "embedded": (0, 3)}, "must name levels from 0 to 2"),
    ({"steps": (2.5, 1.0, 1.0), "embedded": (0, 1)}, "not whole multiples of the last"),
    ({"steps": (2.0, 1.0, 1.0), "embedded": (0, 1)}, "odd multiple"),
    ({"embedded": (2, 0)}, "none below the one in front"),
    ({"embedded": (2,)}, "2 to 8 steps"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **changes)


def test_a_bottleneck_wider_than_its_tensor_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"49: .*49x4x4 has 784 .* 3x16x16 .* 768; give at most 48"
    ):
        _student(replace(TINY, channels=(49,)))


def test_widths_that_do_not_reach_the_target_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="decoder_widths has 2 numbers; from 4x4 to 16x16 it needs 3"
    ):
        _student(replace(TINY, decoder_widths=(8, 8)))


def test_tensors_without_height_and_width_are_refused() -> None:
    with pytest.raises(ModelError, match="the source has the shape 7"):
        Entropic(TINY).student(Form((7,), (8, 4, 4), True), nn.Flatten())
