"""The training loop that all learned parts share: seeded, bounded, stopped by a loss of NaN."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from splitnet.console import Progress
from splitnet.errors import TrainingError
from splitnet.training.checkpoints import Checkpoint, Kept, under

WARM_UP_SHARE = 0.1
"""Part of a training in which the learning rate rises (Smith and Topin 2018, arXiv 1708.07120)."""

SECOND_STAGE_RATE = 0.2
"""Learning rate of a second stage, as a share of the first one's, so that it refines and does not
forget: for the bottleneck at layer2 of ResNet-56, 1.0 gave 91.5 %, 0.2 gave 92.0 %, 0.07 91.9 %."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train; whichever of `epochs` and `seconds` ends first counts.

    Attributes
    ----------
    decay
        Weight decay of AdamW.
    clip
        Largest norm of a gradient, 0 for any.
    """

    epochs: int = 8
    seconds: float = 120.0
    batch: int = 32
    peak_rate: float = 5e-3
    seed: int = 0
    decay: float = 1e-2
    clip: float = 0.0

    def halves(self) -> tuple[Schedule, Schedule]:
        """Return two stages that share epochs and time; the second has the odd epoch."""
        half = replace(self, epochs=self.epochs // 2, seconds=self.seconds / 2)
        rest = self.epochs - half.epochs
        return half, replace(half, epochs=rest, peak_rate=self.peak_rate * SECOND_STAGE_RATE)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss to descend on, and what it is made of, for people."""

    total: Tensor
    figures: Mapping[str, float] = field(default_factory=dict)


LossOf: TypeAlias = Callable[[Tensor], Tensor | Loss]
"""Loss of the training samples whose row numbers it is given."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch that has ended.

    Attributes
    ----------
    number
        From 1.
    loss
        Mean over its samples.
    figures
        Means of the figures of `Loss`.
    left_s
        Time that the epochs behind it are expected to take.
    """

    number: int
    loss: float
    figures: Mapping[str, float]
    left_s: float


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters with a learning rate of their own."""

    parameters: Sequence[nn.Parameter]
    peak_rate: float


class Training:
    """One stage of a training, epoch by epoch.

    The same seed gives the same result, also when it is taken up from a checkpoint: the order of
    the samples and whatever `loss` draws from torch's generator are part of it.

    Parameters
    ----------
    module
        What is trained, and saved.
    loss
        Loss of the training samples whose row numbers it is given.
    count
        Number of training samples.
    parts
        What learns at which rate; without it all of `module` does at ``schedule.peak_rate``.
    checkpoint, facts
        Where the state is kept, and what to note beside it.
    after_step
        Called after each step of the optimiser.
    on_step
        Told the loss of each step.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: LossOf,
        count: int,
        schedule: Schedule,
        *,
        parts: Sequence[Part] | None = None,
        checkpoint: Checkpoint | None = None,
        facts: Mapping[str, object] | None = None,
        after_step: Callable[[int], None] = lambda step: None,
        on_step: Callable[[float], None] = lambda loss: None,
    ) -> None:
        self._module = module
        self._loss = loss
        self._count = count
        self._schedule = schedule
        own = parts or [Part(list(module.parameters()), schedule.peak_rate)]
        self._parts = [part for part in own if part.parameters]
        self._optimiser = torch.optim.AdamW(
            [{"params": list(part.parameters), "lr": part.peak_rate} for part in self._parts],
            lr=schedule.peak_rate,
            weight_decay=schedule.decay,
        )
        self._checkpoint = checkpoint
        self._facts = dict(facts or {})
        self._after_step = after_step
        self._on_step = on_step
        self._shuffle = torch.Generator().manual_seed(schedule.seed)
        self._epoch = 0
        self._step = 0
        self._batch = 0
        self._order_state = self._shuffle.get_state()
        self._total: defaultdict[str, float] = defaultdict(float)
        self._seen = 0
        torch.manual_seed(schedule.seed)

    @property
    def epoch(self) -> int:
        """Number of the epoch that runs, from 0."""
        return self._epoch

    def resume(self, kept: Kept) -> None:
        """Go on where `kept`, of the same stage, was saved."""
        self._module.load_state_dict(kept.part("module"))
        slots: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in kept.part("optimiser").items():
            number, _, key = name.partition("/")
            slots[int(number)][key] = tensor
        state = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**state, "state": dict(slots)})
        self._shuffle.set_state(kept.tensors["order"])
        torch.set_rng_state(kept.tensors["random"])
        if "random_cuda" in kept.tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(kept.tensors["random_cuda"])
        at = kept.facts["at"]
        self._epoch, self._step, self._batch = at["epoch"], at["step"], at["batch"]
        self._seen = at["seen"]
        self._total.update(at["total"])

    def epochs(self) -> Iterator[Epoch]:
        """Train, and yield after each epoch with the module in eval mode.

        Raises
        ------
        TrainingError
            The loss or a gradient is not finite.
        KeyboardInterrupt
            The checkpoint saw an interrupt; the state is kept.
        """
        schedule = self._schedule
        a_epoch = max(1, math.ceil(self._count / schedule.batch))
        began_s, began_step = time.monotonic(), self._step
        while self._epoch < schedule.epochs:
            self._order_state = self._shuffle.get_state()
            order = torch.randperm(self._count, generator=self._shuffle)
            self._module.train()
            for rows in torch.split(order, schedule.batch)[self._batch :]:
                spent_s = time.monotonic() - began_s
                done = _done(self._step / (schedule.epochs * a_epoch), spent_s / schedule.seconds)
                if done >= 1:
                    break
                self.descend(rows, _rate(done))
                if self._checkpoint is not None and self._checkpoint.due:
                    self.save()
                    if self._checkpoint.interrupted:
                        raise KeyboardInterrupt
            self._module.eval()
            self._epoch, self._batch = self._epoch + 1, 0
            spent_s = time.monotonic() - began_s
            step_s = spent_s / max(1, self._step - began_step)
            left_s = min(step_s * a_epoch * (schedule.epochs - self._epoch), schedule.seconds)
            yield self._ended(left_s)
            self._order_state = self._shuffle.get_state()
            self._total.clear()
            self._seen = 0
            if self._checkpoint is not None:
                self.save()
            if time.monotonic() - began_s >= schedule.seconds:
                return

    def save(self) -> None:
        """Keep the state in the checkpoint."""
        assert self._checkpoint is not None
        slots = self._optimiser.state_dict()["state"]
        tensors = {f"optimiser/{n}/{k}": v for n, slot in slots.items() for k, v in slot.items()}
        tensors |= under("module", self._module.state_dict())
        tensors |= {"order": self._order_state, "random": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors["random_cuda"] = torch.cuda.get_rng_state()
        at = {
            "epoch": self._epoch,
            "step": self._step,
            "batch": self._batch,
            "seen": self._seen,
            "total": dict(self._total),
        }
        self._checkpoint.save(tensors, {**self._facts, "at": at})

    def descend(self, rows: Tensor, share: float = 1.0) -> None:
        """Take one step on some samples, at a share of the peak rates.

        Raises
        ------
        TrainingError
            The loss or a gradient is not finite; nothing was changed.
        """
        for group, own in zip(self._optimiser.param_groups, self._parts, strict=True):
            group["lr"] = own.peak_rate * share
        found = self._loss(rows)
        loss = found if isinstance(found, Loss) else Loss(found)
        value = loss.total.item()
        if not math.isfinite(value):
            raise TrainingError(self._broken(f"the loss is {value}"))
        self._optimiser.zero_grad()
        torch.autograd.backward(loss.total)
        if self._schedule.clip:
            learning = [p for part in self._parts for p in part.parameters]
            norm = nn.utils.clip_grad_norm_(learning, self._schedule.clip).item()
            if not math.isfinite(norm):
                raise TrainingError(self._broken("a gradient is not finite"))
        self._optimiser.step()
        self._step, self._batch = self._step + 1, self._batch + 1
        self._seen += len(rows)
        for name, figure in {"loss": value, **loss.figures}.items():
            self._total[name] += figure * len(rows)
        self._after_step(self._step)
        self._on_step(value)

    def _ended(self, left_s: float) -> Epoch:
        means = {name: total / max(self._seen, 1) for name, total in self._total.items()}
        return Epoch(self._epoch, means.pop("loss", 0.0), means, left_s)

    def _broken(self, what: str) -> str:
        kept = "nothing was kept before"
        if self._checkpoint is not None and self._checkpoint.file.exists():
            kept = f"the last good state is in {self._checkpoint.file}"
        return (
            f"step {self._step + 1} (epoch {self._epoch + 1}): {what}; {kept}; lower the learning "
            f"rate ({self._schedule.peak_rate:g}), or leave bf16 if it is on"
        )


def fit(
    module: nn.Module,
    loss: LossOf,
    count: int,
    score: Callable[[], float],
    schedule: Schedule,
    progress: Progress,
) -> float:
    """Train `module` in place and leave it in the state with the best score, in eval mode.

    Parameters
    ----------
    loss
        Loss of the training samples whose row numbers it is given.
    count
        Number of training samples.
    score
        Quality on calibration data, asked after each epoch with the module in eval mode; higher
        is better.
    progress
        Told of each epoch, after `progress.step` was called with `schedule.epochs` units.

    Returns
    -------
    float
        The best score.

    Raises
    ------
    TrainingError
        The loss is not finite.
    """
    best, best_score = state_of(module), -math.inf
    for epoch in Training(module, loss, count, schedule).epochs():
        with torch.no_grad():
            reached = score()
        if reached > best_score:
            best, best_score = state_of(module), reached
        progress.advance(1, f"loss {epoch.loss:.4f}, calibration {reached:.4f}")
    module.load_state_dict(best)
    return best_score


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state of `module`."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _done(steps: float, time_: float) -> float:
    """Return how much of a training is behind, from the shares of its steps and of its time.

    Time only counts when it will run out first, which shows after a while: until then, and with
    enough time throughout, the learning rates do not depend on a clock.
    """
    return max(steps, time_) if time_ > WARM_UP_SHARE else steps


def _rate(done: float) -> float:
    """Return the share of the peak learning rate: a linear rise, then half a cosine."""
    if done < WARM_UP_SHARE:
        return (done + 0.01) / (WARM_UP_SHARE + 0.01)
    return (1 + math.cos(math.pi * (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2
