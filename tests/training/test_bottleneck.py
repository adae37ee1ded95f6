"""The learned bottleneck: shapes, the simulated quantiser, distillation."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch

from splitnet.codecs.base import Header
from splitnet.codecs.making import make_codec
from splitnet.console import Silent
from splitnet.training.bottleneck import Bottleneck, Teacher, quantise, train_bottleneck
from splitnet.training.loop import Schedule


@pytest.mark.parametrize("shape", [(16, 32, 32), (32, 17, 9), (64, 4, 5), (48, 3, 3), (20, 1, 1)])
def test_the_decoder_gives_back_the_shape(shape: tuple[int, int, int]) -> None:
    module = Bottleneck(shape, positive=True).eval()
    x = torch.rand(2, *shape)
    assert module(x).shape == x.shape
    assert (module(x) >= 0).all()
    assert module.encoder(x)[0].numel() <= max(prod(shape) / 8, shape[0])


def test_a_tensor_with_negative_values_is_not_cut_off() -> None:
    module = Bottleneck((8, 8, 8), positive=False).eval()
    assert (module(torch.randn(4, 8, 8, 8)) < 0).any()


def test_the_quantiser_is_the_codec() -> None:
    z = torch.randn(3, 4, 5, 6)
    codec = make_codec({"id": "affine", "bits": 8})
    header = Header("float32", (1, 4, 5, 6))
    sent = [codec.decode(codec.encode(z[i : i + 1].numpy()), header) for i in range(3)]
    assert np.allclose(quantise(z).numpy(), np.concatenate(sent), atol=1e-6)
    flat = torch.full((2, 1, 2, 2), 0.3)
    assert torch.equal(quantise(flat), flat)


def test_gradients_pass_the_quantiser() -> None:
    z = torch.randn(2, 1, 3, 3, requires_grad=True)
    (quantise(z) * torch.arange(9.0).reshape(3, 3)).sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert torch.equal(z.grad[0, 0], torch.arange(9.0).reshape(3, 3))


def _teacher(count: int) -> Teacher:
    """Smooth maps, and answers that depend on where they are bright."""
    rng = np.random.default_rng(count)
    coarse = rng.random((count, 8, 2, 2), np.float32)
    features = coarse.repeat(4, 2).repeat(4, 3)
    return Teacher(features, _tail(torch.from_numpy(features)).numpy())


def _tail(x: torch.Tensor) -> torch.Tensor:
    return 8 * torch.nn.functional.adaptive_avg_pool2d(x[:, :2], 2).flatten(1)


def _error(module: Bottleneck, held: Teacher) -> float:
    with torch.inference_mode():
        restored = module.eval()(torch.from_numpy(held.features))
    return float(((restored.numpy() - held.features) ** 2).mean())


def test_without_a_tail_the_tensor_is_restored() -> None:
    module, held = Bottleneck((8, 8, 8), positive=True), _teacher(64)
    before = _error(module, held)
    score = train_bottleneck(module, _teacher(256), held, None, Schedule(epochs=8), Silent())
    after = _error(module, held)
    assert after < before / 3
    assert score == pytest.approx(-after / held.features.var(), rel=0.05)


def test_with_a_tail_the_answers_are_restored() -> None:
    module, held = Bottleneck((8, 8, 8), positive=True), _teacher(64)
    score = train_bottleneck(
        module, _teacher(512), held, _tail, Schedule(16, peak_rate=2e-2), Silent()
    )
    with torch.inference_mode():
        answers = _tail(module(torch.from_numpy(held.features))).numpy()
    assert score == pytest.approx((answers.argmax(1) == held.output.argmax(1)).mean())
    assert score > 0.7


def test_the_seed_decides_the_first_weights() -> None:
    first, again, other = (Bottleneck((8, 8, 8), True, seed).state_dict() for seed in (0, 0, 1))
    key = "encoder.0.weight"
    assert torch.equal(first[key], again[key]) and not torch.equal(first[key], other[key])
