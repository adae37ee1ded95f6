"""``splitnet train``: from a recipe to a folder of results that a bundle can be built with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitnet.builder.train_config import TrainConfig, read_recipe
from splitnet.builder.train_exits import ExitTrainer, check_no_path
from splitnet.builder.train_setting import Setting, count_flops, device_of
from splitnet.config import nearest
from splitnet.console import Progress
from splitnet.errors import ConfigError
from splitnet.runtime.answers import labels, score
from splitnet.training.addressing import INPUT
from splitnet.training.checkpoints import read_tensors
from splitnet.training.exit_recipe import Exits
from splitnet.training.levels import FittedLevel, fit_levels
from splitnet.training.recipe import Recipe
from splitnet.training.results import PLOT, Folder, LevelResult, LevelRows, Results, commit
from splitnet.training.session import Session, Task
from splitnet.training.threads import math_threads


def train(
    file: Path, out: Path, progress: Progress, *, resume: bool = False, device: str | None = None
) -> dict[str, Any]:
    """Train what `file` describes into the folder `out`, and return what it reached as JSON.

    Raises
    ------
    SplitnetError
        Anything is not as needed; a training that was interrupted goes on with `resume`.
    """
    config, recipe = read_recipe(file, device)
    with math_threads(config.threads):
        return _trainer(config, recipe, Folder(out), progress).run(file.read_text(), resume)


def try_out(file: Path, out: Path, progress: Progress, device: str | None = None) -> dict[str, Any]:
    """Run one batch through every stage of `file`, and return the expected time and bytes."""
    config, recipe = read_recipe(file, device)
    with math_threads(config.threads):
        return _trainer(config, recipe, Folder(out), progress).try_out()


def _trainer(
    config: TrainConfig, recipe: Recipe | Exits, folder: Folder, progress: Progress
) -> _PathTrainer | ExitTrainer:
    if isinstance(recipe, Exits):
        check_no_path(config)
        return ExitTrainer(Setting(config, folder, progress), recipe)
    return _PathTrainer(Setting(config, folder, progress), recipe)


class _PathTrainer:
    def __init__(self, setting: Setting, recipe: Recipe) -> None:
        self._setting = setting
        self._recipe = recipe
        self._folder = setting.folder
        self._network = setting.network
        config = self._config = setting.config
        self._begun_with = _samples_of(config.begin)
        if self._begun_with is None:
            setting.notes.append(f"it is not known what {config.begin} learned from")
        self._session = Session(
            Task(
                recipe,
                setting.network,
                setting.teacher,
                setting.training,
                setting.calibration,
                config.source,
                config.target,
                setting.views,
                config.batch,
                config.seed,
                setting.arithmetic,
                None if config.begin is None else _weights(Path(config.begin), config.begin_parts),
            ),
            setting.progress,
        )

    def run(self, text: str, resume: bool) -> dict[str, Any]:
        began_s = time.monotonic()
        checkpoint, kept = self._setting.begin(text, self._recipe.config, resume)
        with checkpoint.keeping_interrupts():
            self._session.run(checkpoint, kept, self._folder.note)
        levels, found, rows = self._levels()
        results = self._results(found, time.monotonic() - began_s)
        self._folder.keep_samples([*self._setting.samples, *(self._begun_with or ())])
        self._folder.keep_rows(rows)
        self._folder.finish(results, levels, self._session.student.state_dict())
        if find_spec("matplotlib") is not None:
            from splitnet.builder.rate_plot import plot_rates

            plot_rates(self._folder.path / PLOT, results)
        return {"out": str(self._folder.path), **asdict(results)}

    def try_out(self) -> dict[str, Any]:
        found = self._session.dry_run()
        names = [plan.name for plan in self._recipe.levels()]
        sizes = dict(zip(names, found.pop("bytes"), strict=True))
        return {
            **found,
            "untrained_bytes": sizes,
            "latent": list(self._latent_shape()),
            "flops": self._flops(),
            "teacher": self._setting.teacher_score,
            "notes": self._setting.notes,
        }

    def _levels(
        self,
    ) -> tuple[tuple[FittedLevel, ...], tuple[LevelResult, ...], list[LevelRows]]:
        """Fit the codecs, and measure every level with real payloads; the rows are of test data."""
        session = self._session
        data = session.task.calibration, self._setting.test
        latents = [session.latents(each) for each in data]
        truths = [self._setting.truth(each) for each in data]
        recipe = self._recipe
        progress = self._setting.progress
        progress.step("fitting the codecs of all levels to calibration data")
        levels = fit_levels((*recipe.levels(), *recipe.further_levels()), latents[0])
        found, rows = [], []
        progress.step("measuring every level with real payloads", len(levels))
        for level in levels:
            each = []
            for latent, truth in zip(latents, truths, strict=True):
                arrived, payloads = level.transmit(latent)
                right = score(labels(session.finish(arrived)), truth)
                each.append(LevelRows(right, np.array([len(payload) for payload in payloads])))
            figures = [level_rows.means() for level_rows in each]
            found.append(LevelResult(level.name, level.codec, tuple(level.tables), *figures))
            rows.append(each[-1])
            progress.advance()
        return levels, tuple(found), rows

    def _results(self, levels: tuple[LevelResult, ...], seconds: float) -> Results:
        config, session = self._config, self._session
        return Results(
            recipe=config.recipe,
            config=asdict(self._recipe.config),
            settings=asdict(config),
            source=config.source,
            target=config.target,
            form=session.form,
            network=self._setting.network_key,
            teacher=self._setting.teacher_scores(),
            levels=levels,
            flops=self._flops(),
            seconds=seconds,
            git=commit(),
            notes=tuple(self._setting.notes),
        )

    def _latent_shape(self) -> tuple[int, ...]:
        return self._encode(self._example_source()).shape

    def _example_source(self) -> Tensor:
        front = self._network.part(INPUT, [self._config.source])
        with torch.no_grad():
            (source,) = front(self._network.example.to(device_of(front)))
        found: Tensor = source
        return found

    def _encode(self, source: Tensor) -> Tensor:
        encoder = self._session.student.encoder
        with torch.no_grad():
            latent: Tensor = encoder(source.to(device_of(encoder)))
        return latent

    def _flops(self) -> dict[str, int]:
        """Return the work of the encoder, with what is in front of it, and of the network."""
        whole = count_flops(self._network.module, self._network.example)
        front = count_flops(self._network.part(INPUT, [self._config.source]), self._network.example)
        return {
            "encoder": front + count_flops(self._session.student.encoder, self._example_source()),
            "network": whole,
        }


def _samples_of(begin: str | None) -> frozenset[bytes] | None:
    """Return digests of what the weights to begin with learned from, ``None`` if nobody knows."""
    if begin is None:
        return frozenset()
    return Folder(Path(begin)).samples() if Path(begin).is_dir() else None


def _weights(place: Path, parts: Sequence[str]) -> dict[str, Tensor]:
    """Return the weights of some parts in a file, or in a folder of results."""
    found = Folder(place).weights() if place.is_dir() else dict(read_tensors(place).tensors)
    known = {name.partition(".")[0] for name in found}
    for part in parts:
        if part not in known:
            raise ConfigError(
                f"begin_parts: {place} has no part {part!r}{nearest(part, known)}; it has "
                f"{', '.join(sorted(known))}"
            )
    return {k: v for k, v in found.items() if not parts or k.partition(".")[0] in parts}
