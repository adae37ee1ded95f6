"""What every registered recipe does."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitnet import registry
from splitnet.config import load_config
from splitnet.errors import ConfigError
from splitnet.training.autoencoder import AutoencoderConfig
from splitnet.training.bottlefit import BottleFitConfig
from splitnet.training.ghnd import GhndConfig
from splitnet.training.image_codec import ImageCodec, ImageCodecConfig
from splitnet.training.levels import fit_levels
from splitnet.training.recipe import Batch, Form, Recipe, Student, matched_behind
from tests.training.conftest import TINY

IMAGE, FEATURES = (3, 16, 16), (8, 16, 16)


class _Case(NamedTuple):
    """A configuration, source and target, and by how much latents of random weights are widened."""

    config: Any
    source: tuple[int, ...] = IMAGE
    target: tuple[int, ...] = FEATURES
    spread: float = 8.0


CASES = {
    "entropic": _Case(TINY),
    "ghnd": _Case(GhndConfig(4, ("later",), (8, 8), (8, 8, 8))),
    "bottlefit": _Case(BottleFitConfig(4, (), (8, 8), (8, 8, 8))),
    "autoencoder": _Case(AutoencoderConfig(), FEATURES),
    "image-codec": _Case(ImageCodecConfig(qualities=(10, 80), epochs=1), IMAGE, IMAGE, 1.0),
}


class _Tail(nn.Module):
    """A classifier that also returns what it was given, doubled."""

    def __init__(self, places: int, channels: int) -> None:
        super().__init__()
        self.head = nn.Linear(channels, 3)
        self.places = places

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.head(x.mean((2, 3))), *[2 * x] * self.places)


@pytest.fixture(params=sorted(CASES))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    cls = registry.load("recipes", request.param)
    assert isinstance(cls, type) and issubclass(cls, Recipe) and cls.id == request.param
    return cls(CASES[request.param].config)


def _student(recipe: Recipe) -> Student:
    torch.manual_seed(0)
    case = CASES[recipe.id]
    matched = matched_behind(recipe.stages("here"))
    student = recipe.student(
        Form(case.source, case.target, True), _Tail(len(matched), case.target[0])
    )
    student.behind = matched
    return student


def _batch(recipe: Recipe, student: Student, matched: int, answers: bool) -> Batch:
    source = torch.rand(4, *CASES[recipe.id].source)
    features = tuple(torch.rand(4, *CASES[recipe.id].target) for _ in range(matched))
    return Batch(source, student.draw(4), features, torch.randn(4, 3) if answers else None)


def test_every_recipe_of_a_path_has_a_case() -> None:
    assert registry.names("recipes") == sorted([*CASES, "exits"])


def test_the_configuration_comes_back_from_json(recipe: Recipe) -> None:
    options = json.loads(json.dumps(asdict(recipe.config)))
    assert load_config(recipe.Config, recipe.id, options=options) == recipe.config
    assert recipe.Config() == type(recipe)().config


def test_each_stage_moves_its_parts_and_no_others(recipe: Recipe) -> None:
    for stage in recipe.stages("here"):
        student = _student(recipe).train()
        batch = _batch(recipe, student, len(stage.matched), stage.answers)
        found = recipe.loss(stage, student, batch)
        torch.autograd.backward(found.total)
        for name in stage.rates:
            gradients = [p.grad for p in student.get_submodule(name).parameters()]
            assert any(g is not None and g.abs().sum() > 0 for g in gradients), (stage.name, name)
        assert found.figures["bytes"] > 0


def test_the_levels_fit_the_latent_and_make_payloads(recipe: Recipe) -> None:
    student, case = _student(recipe).eval(), CASES[recipe.id]
    with torch.inference_mode():
        latents = student.encoder(torch.rand(24, *case.source)).numpy() * case.spread
    levels = fit_levels(recipe.levels(), latents)
    sizes = []
    for number, level in enumerate(levels):
        arrived, payloads = level.transmit(latents)
        expected, _ = student.cross(torch.from_numpy(latents), torch.full((24,), number))
        step = np.ptp(latents) / 255
        assert np.allclose(arrived, expected.numpy(), atol=1.5 * step)
        sizes.append(sum(map(len, payloads)))
    assert sizes == sorted(sizes, reverse=True)


def test_the_decoder_ends_in_the_target(recipe: Recipe) -> None:
    student = _student(recipe).eval()
    with torch.inference_mode():
        restored, bits = student(torch.rand(2, *CASES[recipe.id].source), torch.zeros(2).long())
    assert restored.shape == (2, *CASES[recipe.id].target) and bits.shape == (2,)
    assert (restored >= 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codec": "png"}, "codec is 'png', must be one of webp, jpeg"),
        ({"qualities": (50, 20)}, "must rise"),
        ({"qualities": ()}, "at least one"),
        ({"hint_weight": -1.0}, "hint_weight is -1"),
    ],
)
def test_image_codecs_have_limits(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageCodecConfig(**settings)


def test_features_are_no_files() -> None:
    with pytest.raises(ConfigError, match="leave both at input"):
        ImageCodec(ImageCodecConfig()).student(Form(FEATURES, FEATURES, True), nn.Identity())
