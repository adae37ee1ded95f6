"""``splitnet train``: from a recipe to a folder of results that a bundle can be built with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from os.path import expandvars
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from splitnet import registry
from splitnet.builder.data import Dataset, Roles, load_roles
from splitnet.builder.execution import prepare_row
from splitnet.builder.overlap import check_overlap, digests
from splitnet.builder.torch_source import build_module
from splitnet.bundle.json_form import canonical
from splitnet.config import check_positive, load_config, nearest
from splitnet.console import Progress
from splitnet.errors import ConfigError
from splitnet.runtime.answers import labels, score
from splitnet.runtime.preprocess import default_steps, parse_steps
from splitnet.training.addressing import INPUT, Network
from splitnet.training.checkpoints import Checkpoint, read_tensors
from splitnet.training.levels import FittedLevel, fit_levels
from splitnet.training.loop import torch_threads
from splitnet.training.recipe import Recipe
from splitnet.training.results import PLOT, Folder, LevelResult, Results, commit, measured
from splitnet.training.session import Session, Task
from splitnet.training.teacher import Arithmetic, Teacher, check_teacher, hash_modules
from splitnet.training.views import Data, Views

CACHE = "teacher"
"""Folder beside the results in which all trainings keep what their teachers said."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What to train, on what, and how: the table ``[train]`` of a recipe's file.

    Attributes
    ----------
    recipe
        Id of the recipe; its settings are in the table of this name.
    model, data, calib, test, preprocess
        As ``splitnet build`` takes them; the model must be a torch module.
    source, target
        Where the encoder reads and where the decoder ends: ``input``, the path of a module or the
        id of a cut.
    teachers
        Further networks; the mean of all answers is imitated.
    flip, shift, mix, cutmix, views
        Changed copies of the training data, see `Views`.
    threads, device, bf16
        Threads of torch, ``cpu`` or ``cuda``, and convolutions in bfloat16.
    begin
        Results or weights of the same recipe to begin with.
    begin_parts
        Parts of the student that are taken from there, for instance ``encoder`` and ``prior`` so
        that one encoder serves another network too; empty: all.
    """

    recipe: str
    model: str
    data: str
    calib: str | None = None
    test: str | None = None
    preprocess: str | None = None
    source: str = INPUT
    target: str = INPUT
    teachers: tuple[str, ...] = ()
    flip: bool = False
    shift: int = 0
    mix: float = 0.0
    cutmix: float = 0.0
    views: int = 8
    batch: int = 128
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    bf16: bool = False
    begin: str | None = None
    begin_parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_positive(self, "batch", "threads")
        for name in ("shift", "views", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, must not be negative")
        if min(self.mix, self.cutmix) < 0 or self.mix + self.cutmix > 1:
            raise ConfigError(
                f"mix is {self.mix:g} and cutmix {self.cutmix:g}, must be shares of the samples"
            )
        if self.device != "cpu" and not (
            self.device.partition(":")[0] == "cuda" and torch.cuda.is_available()
        ):
            raise ConfigError(f"there is no device {self.device!r} here; use cpu, or cuda if it is")


def read_recipe(file: Path, device: str | None = None) -> tuple[TrainConfig, Recipe]:
    """Return the settings and the recipe of a TOML file.

    Raises
    ------
    ConfigError
        The file cannot be read, or a setting is unknown or wrong.
    UnknownNameError
        No recipe has this id.
    """
    config = load_config(
        TrainConfig, "train", options={"device": device}, file=file, spell=lambda key: key
    )
    config = replace(config, **_expanded(config))
    recipe = registry.load("recipes", config.recipe)
    if not (isinstance(recipe, type) and issubclass(recipe, Recipe)):
        raise ConfigError(f"the recipe {config.recipe!r} is registered as {recipe!r}, no Recipe")
    return config, recipe(load_config(recipe.Config, config.recipe, file=file))


def _views(config: TrainConfig) -> Views:
    return Views(config.flip, config.shift, config.mix, config.cutmix, config.views, config.seed)


def _expanded(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that name files, with the values of environment variables."""
    found: dict[str, Any] = {"teachers": tuple(map(expandvars, config.teachers))}
    for name in ("model", "data", "calib", "test", "begin"):
        text = getattr(config, name)
        found[name] = None if text is None else expandvars(text)
    return found


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
    with torch_threads(config.threads):
        return _Trainer(config, recipe, Folder(out), progress).run(file.read_text(), resume)


def try_out(file: Path, out: Path, progress: Progress, device: str | None = None) -> dict[str, Any]:
    """Run one batch through every stage of `file`, and return the expected time and bytes."""
    config, recipe = read_recipe(file, device)
    with torch_threads(config.threads):
        return _Trainer(config, recipe, Folder(out), progress).try_out()


class _Trainer:
    def __init__(
        self, config: TrainConfig, recipe: Recipe, folder: Folder, progress: Progress
    ) -> None:
        self._config = config
        self._recipe = recipe
        self._folder = folder
        self._progress = progress
        roles = load_roles(config.data, config.calib, config.test, config.seed)
        self._notes = [*roles.notes, *check_overlap(roles)]
        steps = _steps(config, roles)
        arithmetic = Arithmetic(config.device, config.bf16)
        module = build_module(config.model)
        example = torch.from_numpy(_prepare(roles.training, 0, steps))
        self._network_key = hash_modules([module])
        self._network = Network(module, example)
        others = [build_module(spec) for spec in config.teachers]
        training, calibration, self._test = (
            prepared(data, steps) for data in (roles.training, roles.calibration, roles.test)
        )
        cache = folder.path.parent / CACHE
        self._teacher = Teacher([module, *others], arithmetic, cache)
        self._teacher_score = check_teacher(
            self._teacher.answers(calibration, Views(), 0, progress), calibration.labels
        )
        self._session = Session(
            Task(
                recipe,
                self._network,
                self._teacher,
                training,
                calibration,
                config.source,
                config.target,
                _views(config),
                config.batch,
                config.seed,
                arithmetic,
                None if config.begin is None else _weights(Path(config.begin), config.begin_parts),
            ),
            progress,
        )

    def run(self, text: str, resume: bool) -> dict[str, Any]:
        began_s = time.monotonic()
        self._folder.begin(text)
        checkpoint = Checkpoint(self._folder.checkpoint, self._key())
        kept = checkpoint.load() if resume else None
        if not resume:
            self._folder.forget()
        self._session.run(checkpoint, kept, self._folder.note)
        levels, found = self._levels()
        results = self._results(found, time.monotonic() - began_s)
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
            "teacher": self._teacher_score,
            "notes": self._notes,
        }

    def _levels(self) -> tuple[tuple[FittedLevel, ...], tuple[LevelResult, ...]]:
        """Fit the codecs, and measure every level with real payloads."""
        session = self._session
        data = session.task.calibration, self._test
        latents = [session.latents(each) for each in data]
        truths = [self._truth(each) for each in data]
        levels = fit_levels(self._recipe.levels(), latents[0])
        found = []
        for level in levels:
            figures = []
            for latent, truth in zip(latents, truths, strict=True):
                arrived, payloads = level.transmit(latent)
                answers = session.finish(arrived)
                figures.append(measured(score(labels(answers), truth), payloads))
            found.append(LevelResult(level.name, level.codec, tuple(level.tables), *figures))
        return levels, tuple(found)

    def _truth(self, data: Data) -> NDArray[np.int64]:
        if data.labels is not None:
            return data.labels
        return labels(self._teacher.answers(data, Views(), 0, self._progress))

    def _results(self, levels: tuple[LevelResult, ...], seconds: float) -> Results:
        config, session = self._config, self._session
        answers = self._teacher.answers(self._test, Views(), 0, self._progress)
        test = (
            None
            if self._test.labels is None
            else float(score(labels(answers), self._test.labels).mean())
        )
        return Results(
            recipe=config.recipe,
            config=asdict(self._recipe.config),
            settings=asdict(config),
            source=config.source,
            target=config.target,
            form=session.form,
            network=self._network_key,
            teacher=(self._teacher_score, test),
            levels=levels,
            flops=self._flops(),
            seconds=seconds,
            git=commit(),
            notes=tuple(self._notes),
        )

    def _key(self) -> str:
        """Return what names everything that the training depends on."""
        task, config = self._session.task, self._config
        settings = {k: v for k, v in asdict(config).items() if k not in ("device", "threads")}
        own = [settings, asdict(self._recipe.config), task.training.key, task.calibration.key]
        return hashlib.sha256(canonical([*own, self._network_key])).hexdigest()

    def _latent_shape(self) -> tuple[int, ...]:
        return self._encode(self._example_source()).shape

    def _example_source(self) -> Tensor:
        front = self._network.part(INPUT, [self._config.source])
        with torch.no_grad():
            (source,) = front(self._network.example.to(_device(front)))
        found: Tensor = source
        return found

    def _encode(self, source: Tensor) -> Tensor:
        encoder = self._session.student.encoder
        with torch.no_grad():
            latent: Tensor = encoder(source.to(_device(encoder)))
        return latent

    def _flops(self) -> dict[str, int]:
        """Return the work of the encoder, with what is in front of it, and of the network."""
        whole = _count(self._network.module, self._network.example)
        front = _count(self._network.part(INPUT, [self._config.source]), self._network.example)
        return {
            "encoder": front + _count(self._session.student.encoder, self._example_source()),
            "network": whole,
        }


def prepared(data: Dataset, steps: Sequence[Any]) -> Data:
    """Return the samples of a role as a training takes them."""

    def inputs(rows: Sequence[int]) -> NDArray[np.float32]:
        return np.concatenate([_prepare(data, row, steps) for row in rows])

    digest = hashlib.sha256(canonical(list(steps)))
    for content in digests(data):
        digest.update(content)
    digest.update(b"" if data.y is None else data.y.tobytes())
    return Data(len(data), inputs, data.y, digest.hexdigest())


def _prepare(data: Dataset, row: int, steps: Sequence[Any]) -> NDArray[np.float32]:
    """Return a prepared sample ``(1, ...)``; a recipe's network has one input."""
    return prepare_row(data, row, steps)[0].astype(np.float32, copy=False)


def _steps(config: TrainConfig, roles: Roles) -> tuple[Any, ...]:
    if config.preprocess is not None:
        return parse_steps(config.preprocess)
    return default_steps(roles.training.load(0).dtype.name)


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


def _count(module: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x.to(_device(module)))
    return int(counter.get_total_flops())


def _device(module: nn.Module) -> torch.device:
    """Return where the weights of a module are."""
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))
