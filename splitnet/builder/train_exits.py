"""``splitnet train`` with the recipe ``exits``: heads that a bundle can be built with."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splitnet.builder.torch_source import build_module
from splitnet.builder.train_config import TrainConfig
from splitnet.builder.train_setting import Setting, count_flops
from splitnet.errors import ConfigError, ModelError
from splitnet.runtime.answers import labels, load_confidence, score
from splitnet.training.addressing import INPUT, OUTPUT, Network, run_part
from splitnet.training.branches import Branches, branch_answers, train_branches
from splitnet.training.certify import ExitScores
from splitnet.training.checkpoints import under
from splitnet.training.exit_recipe import Exits
from splitnet.training.exit_results import HEADS, NETWORK, ExitResult, ExitResults
from splitnet.training.exits import fit_temperature
from splitnet.training.loop import Epoch
from splitnet.training.results import commit
from splitnet.training.teacher import Arithmetic, Teacher, hash_modules
from splitnet.training.views import Data, Views

DRY_BATCHES = 2

RELIABILITY, SHARES = "reliability.png", "shares.png"
"""Pictures among the results."""


def check_no_path(config: TrainConfig) -> None:
    """Raise `ConfigError` if settings of a learned path are given."""
    for name in ("source", "target"):
        if getattr(config, name) != INPUT:
            raise ConfigError(f"[train] {name}: exits have none; their places are in [exits]")
    if config.begin is not None:
        raise ConfigError("[train] begin: exits begin with what `heads` of [exits] returns")


class ExitTrainer:
    """Trains the exits of a recipe and writes what a build and a person need."""

    def __init__(self, setting: Setting, recipe: Exits) -> None:
        self._setting = setting
        self._recipe = recipe
        self._config = recipe.config.branches(setting.config.batch)
        setting.network.check_order(self._config.places)
        network, self._flops = setting.network, network_flops(setting.network)
        seed = setting.config.seed
        torch.manual_seed(seed)
        heads = make_heads(recipe, network, self._flops, seed)
        self._branches = Branches(
            network, self._config.places, heads, frozen=not self._config.network_rate
        )
        with torch.no_grad():
            *tensors, _ = run_part(self._branches.network.eval(), network.example)
        self._tensors = tensors

    def run(self, text: str, resume: bool) -> dict[str, Any]:
        """Train, measure, write the results and return them as JSON."""
        began_s, setting, branches = time.monotonic(), self._setting, self._branches
        folder = setting.folder
        checkpoint, kept = setting.begin(text, self._recipe.config, resume)
        with checkpoint.keeping_interrupts():
            train_branches(
                branches,
                self._config,
                setting.teacher,
                setting.training,
                setting.views,
                setting.arithmetic,
                setting.progress,
                seed=setting.config.seed,
                checkpoint=checkpoint,
                kept=kept,
                report=self._note,
            )
        branches.cpu()
        results = self._measure(began_s)
        weights = under(HEADS, branches.heads.state_dict())
        if not branches.frozen:
            weights |= under(NETWORK, branches.network.state_dict())
        folder.keep_samples(setting.samples)
        folder.write(results, weights, {"recipe": results.recipe})
        return {"out": str(folder.path), **asdict(results)}

    def try_out(self) -> dict[str, Any]:
        """Run some batches on a copy, and return the expected time."""
        setting, config = self._setting, self._config
        rows = np.arange(min(DRY_BATCHES * config.batch, setting.training.count))
        few = Data(len(rows), setting.training.inputs, setting.training.labels, "few")
        teacher = Teacher([setting.network.module], setting.arithmetic)
        began_s = time.monotonic()
        teacher.answers(few, Views(), 0, setting.progress)
        asking_s = time.monotonic() - began_s
        began_s = time.monotonic()
        train_branches(
            copy.deepcopy(self._branches),
            replace(config, epochs=1),
            teacher,
            few,
            Views(),
            setting.arithmetic,
            setting.progress,
        )
        share = setting.training.count / len(rows)
        views = {setting.views.number(epoch) for epoch in range(config.epochs)}
        times = {
            "exits": (time.monotonic() - began_s) * share * config.epochs,
            "teacher": asking_s * share * len(views) * (1 + len(setting.config.teachers)),
        }
        return {
            "stages_s": times,
            "total_s": sum(times.values()),
            "exits": self._work(),
            "flops": self._flops,
            "teacher": setting.teacher_score,
            "notes": setting.notes,
        }

    def _note(self, epoch: Epoch, average: Branches) -> str:
        """Add an epoch to the history, with the score of each branch on calibration data."""
        setting = self._setting
        found = branch_answers(average, setting.calibration, setting.arithmetic)
        truth = setting.truth(setting.calibration)
        right = [float(score(labels(answers), truth).mean()) for answers in found]
        names = (*self._config.places, OUTPUT)
        scores = dict(zip(names, right, strict=True))
        setting.folder.note_line(
            {"epoch": epoch.number, "loss": epoch.loss, "figures": epoch.figures, "scores": scores}
        )
        return ", ".join(f"{name} {share:.1%}" for name, share in scores.items())

    def _measure(self, began_s: float) -> ExitResults:
        """Measure every exit in float32, and draw."""
        setting, config = self._setting, self._config
        setting.progress.step("measuring the exits")
        plain = Arithmetic()
        data = setting.calibration, setting.test
        held, test = (branch_answers(self._branches, each, plain) for each in data)
        held_truth, test_truth = map(setting.truth, data)
        temperatures = [fit_temperature(answers, held_truth) for answers in held[:-1]]
        rights = [
            [score(labels(answers), truth) for answers in found]
            for found, truth in ((held, held_truth), (test, test_truth))
        ]
        work = self._work()
        exits = tuple(
            ExitResult(
                place,
                float(rights[0][i].mean()),
                float(rights[1][i].mean()),
                temperatures[i],
                work[place],
            )
            for i, place in enumerate(config.places)
        )
        measure = load_confidence(self._recipe.config.measure)
        confidences = [
            measure(answers, t).astype(np.float32)
            for answers, t in zip(test[:-1], temperatures, strict=True)
        ]
        scores = ExitScores(np.stack(confidences), np.stack(rights[1][:-1]), rights[1][-1])
        if find_spec("matplotlib") is not None:
            from splitnet.builder.exit_plot import plot_reliability, plot_shares

            plot_reliability(setting.folder.path / RELIABILITY, scores, config.places)
            plot_shares(setting.folder.path / SHARES, scores, config.places)
        return ExitResults(
            recipe=self._recipe.id,
            config=asdict(self._recipe.config),
            settings=asdict(setting.config),
            network=self._network_key(),
            joint=not self._branches.frozen,
            teacher=setting.teacher_scores(),
            whole=tuple(float(right[-1].mean()) for right in rights),
            exits=exits,
            flops=self._flops,
            seconds=time.monotonic() - began_s,
            git=commit(),
            notes=tuple(setting.notes),
        )

    def _network_key(self) -> str:
        """Return the hash of the network's weights, as it has learned if it has."""
        if self._branches.frozen:
            return self._setting.network_key
        module = copy.deepcopy(self._setting.network.module).cpu()
        module.load_state_dict({**module.state_dict(), **self._branches.network.state_dict()})
        return hash_modules([module])

    def _work(self) -> dict[str, int]:
        """Return the FLOPs of each head for one sample."""
        pairs = zip(self._config.places, self._branches.heads, self._tensors, strict=True)
        return {place: count_flops(head, x) for place, head, x in pairs}


def network_flops(network: Network) -> int:
    """Return the work of a network for one sample."""
    return count_flops(network.module, network.example)


def make_heads(recipe: Exits, network: Network, flops: int, seed: int) -> nn.ModuleList:
    """Return the heads of a recipe as their training begins.

    Raises
    ------
    ModelError
        The recipe's callable returns something else, or heads of another form.
    """
    places = recipe.config.places
    with torch.no_grad():
        *tensors, answers = run_part(network.part(INPUT, [*places, OUTPUT]).eval(), network.example)
    spec = recipe.config.heads
    if spec is None:
        return recipe.make_heads(tensors, answers, flops, seed)
    heads = module_list(spec)
    for place, head, tensor in zip(places, heads, tensors, strict=False):
        _check_head(place, head, tensor, answers)
    return heads


def module_list(spec: str) -> nn.ModuleList:
    """Return the heads that a callable makes.

    Raises
    ------
    ModelError
        It returns something else.
    """
    heads = build_module(spec)
    if not isinstance(heads, nn.ModuleList):
        raise ModelError(
            f"{spec} returned a {type(heads).__name__}, but must return a torch.nn.ModuleList, "
            "one head an exit"
        )
    return heads


def _check_head(place: str, head: nn.Module, tensor: Tensor, answers: Tensor) -> None:
    """Check that a head takes the tensor of its place and answers as the network does."""
    try:
        with torch.no_grad():
            found = head.eval()(tensor)
    except RuntimeError as error:
        raise ModelError(
            f"the head at {place} does not take its tensor {tuple(tensor.shape)}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if found.shape != answers.shape:
        raise ModelError(
            f"the head at {place} answers with {tuple(found.shape)}, the network with "
            f"{tuple(answers.shape)}"
        )
