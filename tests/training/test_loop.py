"""The training loop: the best state, bounds, seeds."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from splitnet.console import Silent
from splitnet.errors import TrainingError
from splitnet.training.checkpoints import Checkpoint
from splitnet.training.loop import Loss, Part, Schedule, Training, fit


class _Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def advance(self, units: float = 1, note: str = "") -> None:
        self.notes.append(note)


def _line(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(1, 1)


def _learn_a_line() -> tuple[nn.Linear, float]:
    module = _line()
    x = torch.linspace(-1, 1, 64)[:, None]

    def loss(rows: Tensor) -> Tensor:
        return nn.functional.mse_loss(module(x[rows]), 3 * x[rows] + 1)

    schedule = Schedule(epochs=60, batch=16, peak_rate=0.1)
    best = fit(module, loss, 64, lambda: -float(loss(torch.arange(64))), schedule, Silent())
    return module, best


def test_a_line_is_learned_the_same_way_each_time() -> None:
    (first, best), (again, _) = _learn_a_line(), _learn_a_line()
    assert best > -1e-3 and not first.training
    assert torch.equal(first.weight, again.weight)


def test_the_best_state_is_kept_not_the_last() -> None:
    module = _line()
    scores = iter([1.0, 3.0, 2.0])
    states = []

    def score() -> float:
        states.append(module.weight.detach().clone())
        return next(scores)

    notes = _Notes()
    best = fit(module, lambda rows: module.weight.sum(), 8, score, Schedule(epochs=3), notes)
    assert best == 3.0 and torch.equal(module.weight, states[1])
    assert not torch.equal(states[1], states[2])
    assert len(notes.notes) == 3 and "calibration 3.0000" in notes.notes[1]


def test_time_ends_a_training() -> None:
    module = _line()
    notes = _Notes()
    schedule = Schedule(epochs=1000, seconds=1e-6)
    fit(module, lambda rows: module.weight.sum(), 8, lambda: 0.0, schedule, notes)
    assert len(notes.notes) == 1


def test_two_stages_share_epochs_and_time() -> None:
    first, second = Schedule(epochs=5, seconds=10, seed=3).halves()
    assert (first.epochs, second.epochs) == (2, 3)
    assert first.seconds + second.seconds == 10 and first.seed == second.seed == 3
    assert second.peak_rate < first.peak_rate


SCHEDULE = Schedule(epochs=4, seconds=float("inf"), batch=8, peak_rate=0.05, seed=3)


def _noisy(
    module: nn.Linear,
    stop_at: int | None = None,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[float], None] = lambda loss: None,
) -> Training:
    """Return a training that draws from torch's generator; it fails at a step if asked to."""
    steps = 0

    def loss(rows: Tensor) -> Loss:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise KeyboardInterrupt
        x = torch.rand(len(rows), 1)
        error = nn.functional.mse_loss(module(x), 2 * x)
        return Loss(error, {"half": error.item() / 2})

    return Training(module, loss, 20, SCHEDULE, checkpoint=checkpoint, on_step=on_step)


@pytest.mark.parametrize("stop_at", [2, 4, 9])
def test_an_interrupted_training_ends_as_if_it_had_not_been(tmp_path: Path, stop_at: int) -> None:
    whole = _line()
    losses = [epoch.loss for epoch in _noisy(whole).epochs()]

    checkpoint = Checkpoint(tmp_path / "state", "key", every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        list(_noisy(_line(), stop_at, checkpoint).epochs())

    again = _line(seed=7)
    training = _noisy(again)
    kept = checkpoint.load()
    assert kept is not None
    training.resume(kept)
    resumed = [epoch.loss for epoch in training.epochs()]
    assert torch.equal(again.weight, whole.weight) and torch.equal(again.bias, whole.bias)
    assert resumed == losses[-len(resumed) :]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("stop_at", [1, 3, 12])
def test_an_interrupt_ends_a_training_behind_its_step_and_costs_nothing(
    tmp_path: Path, stop_at: int
) -> None:
    whole, again = _line(), _line(seed=7)
    list(_noisy(whole).epochs())

    checkpoint = Checkpoint(tmp_path / "state", "key", every_s=1e9)
    steps: list[float] = []

    def interrupt(loss: float) -> None:
        steps.append(loss)
        if len(steps) == stop_at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), checkpoint.keeping_interrupts():
        list(_noisy(_line(), checkpoint=checkpoint, on_step=interrupt).epochs())
    assert len(steps) == stop_at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    training = _noisy(again)
    kept = checkpoint.load()
    assert kept is not None
    training.resume(kept)
    list(training.epochs())
    assert torch.equal(again.weight, whole.weight)


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_ends_a_training_at_once(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state", "key")
    with pytest.raises(KeyboardInterrupt), checkpoint.keeping_interrupts():
        signal.raise_signal(signal.SIGINT)
        assert checkpoint.interrupted
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")


def test_a_loss_that_is_not_finite_names_step_and_state(tmp_path: Path) -> None:
    module = _line()
    checkpoint = Checkpoint(tmp_path / "state", "key", every_s=0.0)
    found = iter([1.0, 1.0, float("nan")])

    def loss(rows: Tensor) -> Tensor:
        return module.weight.sum() * next(found)

    training = Training(module, loss, 16, SCHEDULE, checkpoint=checkpoint)
    message = r"step 3 \(epoch 2\): the loss is nan; the last good state is in .*state; lower the"
    with pytest.raises(TrainingError, match=message):
        list(training.epochs())
    assert checkpoint.load() is not None
    assert torch.isfinite(module.weight).all()


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    module = _line()
    before = module.weight.detach().clone()

    def loss(rows: Tensor) -> Tensor:
        return torch.sqrt(module.weight.sum() * 0)  # finite, with an infinite slope

    schedule = Schedule(epochs=1, batch=8, clip=1.0)
    with pytest.raises(TrainingError, match="gradient is not finite; nothing was kept before"):
        list(Training(module, loss, 8, schedule).epochs())
    assert torch.equal(module.weight, before)


def test_parts_learn_at_their_own_rates() -> None:
    module = _line()
    before = module.weight.detach().clone()
    parts = [Part([module.bias], 0.1)]
    list(
        Training(
            module, lambda rows: module(torch.ones(1, 1)).sum(), 8, SCHEDULE, parts=parts
        ).epochs()
    )
    assert torch.equal(module.weight, before)


def test_figures_are_means_over_the_samples() -> None:
    epochs = list(_noisy(_line()).epochs())
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[0].figures["half"] == pytest.approx(epochs[0].loss / 2)
    assert epochs[-1].left_s == 0
