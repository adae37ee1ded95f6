"""Exits trained together, on a frozen network or with it: one network with several branches.

A frozen network stays what it was: exits are then advice of a bundle and its contract does not
change. A network that learns with them gives better features to early exits, but is another
network: every path of its bundle is new, and the promise of its exits is against that network, so
that what it lost itself comes on top.

Sources: Teerapittayanon et al., "BranchyNet", ICPR 2016 (joint training, weights of branches);
Phuong and Lampert, "Distillation-based training for multi-exit architectures", ICCV 2019 (the
teacher's answers for every exit).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.config import check_not_negative, check_positive
from splitnet.console import Progress
from splitnet.errors import ConfigError
from splitnet.training.addressing import INPUT, OUTPUT, Network, run_part
from splitnet.training.averaging import Averaged
from splitnet.training.checkpoints import Checkpoint, Kept
from splitnet.training.loop import Epoch, Loss, Part, Schedule, Training
from splitnet.training.recipe import divergence
from splitnet.training.session import span
from splitnet.training.teacher import TEACHER_BATCH, Arithmetic, Teacher
from splitnet.training.views import Data, Views

DECAY = 5e-4
CLIP = 5.0


@dataclass(frozen=True, slots=True)
class BranchConfig:
    """Where exits stand and how they learn.

    Attributes
    ----------
    places
        Where each head reads: paths of modules or ids of cuts, in the order of the network.
    epochs, batch
        Length of the training.
    rate
        Peak learning rate of the heads.
    network_rate
        Peak learning rate of the network itself; 0 freezes it. The statistics of its batch
        normalisations stay what they were.
    weights
        Weight of each branch in the loss, the network's own answers last; empty: all alike.
    temperature
        Of the distillation.
    """

    places: tuple[str, ...]
    epochs: int = 24
    batch: int = 128
    rate: float = 3e-3
    network_rate: float = 0.0
    weights: tuple[float, ...] = ()
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_positive(self, "epochs", "batch", "rate", "temperature")
        if not self.places:
            raise ConfigError("places is empty; name at least one place of the network")
        check_not_negative(self, "network_rate")
        if self.weights and len(self.weights) != len(self.places) + 1:
            raise ConfigError(
                f"weights has {len(self.weights)} numbers for {len(self.places)} exits; one each "
                "and one for the network's own answers are needed"
            )


class Branches(nn.Module):
    """A network and its exit heads.

    Attributes
    ----------
    network
        Input to the tensors of all places, and the answers.
    heads
        One a place.
    """

    def __init__(
        self, network: Network, places: Sequence[str], heads: nn.ModuleList, frozen: bool
    ) -> None:
        super().__init__()
        if len(heads) != len(places):
            raise ConfigError(f"{len(heads)} heads for {len(places)} places; one each is needed")
        self.network = network.part(INPUT, [*places, OUTPUT])
        self.heads = heads
        self.frozen = frozen
        self.network.requires_grad_(not frozen)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of every exit, and the network's own answers last."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            *tensors, answers = run_part(self.network, x)
        early = (head(tensor) for head, tensor in zip(self.heads, tensors, strict=True))
        return (*early, answers)


def train_branches(
    branches: Branches,
    config: BranchConfig,
    teacher: Teacher,
    data: Data,
    views: Views,
    arithmetic: Arithmetic,
    progress: Progress,
    *,
    seed: int = 0,
    seconds: float = inf,
    checkpoint: Checkpoint | None = None,
    kept: Kept | None = None,
    report: Callable[[Epoch, Branches], str | None] = lambda epoch, average: None,
) -> None:
    """Train heads, and the network if it is not frozen, to answer as the teacher does.

    What is left in `branches` is the running average of the weights.

    Parameters
    ----------
    kept
        What `checkpoint` loaded, to go on with.
    report
        Told of each epoch, with the average of that moment in eval mode; returns what people
        should know of it.

    Raises
    ------
    TrainingError
        The loss is not finite, or a checkpoint cannot be written.
    """
    branches.to(arithmetic.device)
    schedule = Schedule(
        config.epochs, seconds, config.batch, config.rate, seed, decay=DECAY, clip=CLIP
    )
    pair = Averaged(branches)
    # The network is not put into training mode: the statistics of its normalisations stay.
    pair.learning = [branches.heads]
    parts = [Part(list(branches.heads.parameters()), config.rate)]
    if not branches.frozen:
        parts.append(Part(list(branches.network.parameters()), config.network_rate))

    def loss(rows: Tensor) -> Loss:
        number = views.number(training.epoch)
        chosen = rows.numpy()
        wanted = teacher.answers(data, views, number, progress)[chosen].astype(np.float32)
        x = arithmetic.tensor(views.inputs(data, number, chosen))
        with arithmetic.autocast():
            found = branches(x)
        return branch_loss(found, arithmetic.tensor(torch.from_numpy(wanted)), branches, config)

    training = Training(
        pair,
        loss,
        data.count,
        schedule,
        parts=parts,
        checkpoint=checkpoint,
        after_step=pair.follow,
        on_step=lambda loss: progress.advance(1, f"loss {loss:.4f}"),
    )
    if kept is not None:
        training.resume(kept)
    batches = -(-data.count // config.batch)
    if training.epoch < config.epochs:
        progress.step(f"exits: epoch {training.epoch + 1} of {config.epochs}", batches)
    for epoch in training.epochs():
        told = report(epoch, pair.average) or ""
        if epoch.number < config.epochs:
            ended = "; ".join(filter(None, [f"loss {epoch.loss:.4f}", told]))
            text = f"exits: epoch {epoch.number + 1} of {config.epochs}"
            progress.step(f"{text} ({ended}; {span(epoch.left_s)} left)", batches)
    branches.load_state_dict(pair.average.state_dict())
    branches.eval()


def branch_loss(
    found: Sequence[Tensor], wanted: Tensor, branches: Branches, config: BranchConfig
) -> Loss:
    """Return the weighted divergences of all branches; what is frozen has none."""
    weights = config.weights or (1.0,) * len(found)
    learning = found[:-1] if branches.frozen else found
    each = [divergence(answers, wanted, config.temperature) for answers in learning]
    total = torch.stack([w * loss for w, loss in zip(weights, each, strict=False)]).sum()
    names = (*config.places, OUTPUT)
    figures: Mapping[str, float] = {
        name: loss.item() for name, loss in zip(names, each, strict=False)
    }
    return Loss(total, figures)


def branch_answers(branches: Branches, data: Data, arithmetic: Arithmetic) -> list[NDArray[Any]]:
    """Return the logits of every branch for all samples, ``(N, ...)`` each."""
    branches.eval()
    parts: list[tuple[Tensor, ...]] = []
    with torch.inference_mode(), arithmetic.autocast():
        for start in range(0, data.count, TEACHER_BATCH):
            rows = range(start, min(start + TEACHER_BATCH, data.count))
            x = arithmetic.tensor(torch.from_numpy(data.inputs(rows)))
            parts.append(tuple(answers.float().cpu() for answers in branches(x)))
    return [torch.cat(column).numpy() for column in zip(*parts, strict=True)]
