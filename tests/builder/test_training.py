"""The training loop: the best state, bounds, seeds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitnet.builder.training import Schedule, fit, torch_threads
from splitnet.console import Silent


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


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_two_stages_share_epochs_and_time() -> None:
    first, second = Schedule(epochs=5, seconds=10, seed=3).halves()
    assert (first.epochs, second.epochs) == (2, 3)
    assert first.seconds + second.seconds == 10 and first.seed == second.seed == 3
    assert second.peak_rate < first.peak_rate
