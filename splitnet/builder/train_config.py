"""The file of a training: what to train, on what and how, and by which recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os.path import expandvars
from pathlib import Path
from typing import Any

import torch

from splitnet import registry
from splitnet.config import check_not_negative, check_positive, check_tables, load_config
from splitnet.errors import ConfigError
from splitnet.training.addressing import INPUT
from splitnet.training.exit_recipe import Exits
from splitnet.training.recipe import Recipe
from splitnet.training.views import Views

LARGEST_NUMBER, MOST_THREADS = 2**31 - 1, 1024


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
        Threads of torch and of linear algebra, ``cpu`` or ``cuda``, and convolutions in bfloat16.
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
        check_not_negative(self, "shift", "views", "seed")
        for name in ("batch", "threads", "shift", "views", "seed"):
            most = MOST_THREADS if name == "threads" else LARGEST_NUMBER
            if getattr(self, name) > most:
                raise ConfigError(f"{name} is {getattr(self, name)}, must be at most {most}")
        if not (self.mix >= 0 and self.cutmix >= 0 and self.mix + self.cutmix <= 1):
            raise ConfigError(
                f"mix is {self.mix:g} and cutmix {self.cutmix:g}, must be shares of the samples"
            )
        if self.begin_parts and self.begin is None:
            raise ConfigError("begin_parts names parts of what begin names, and there is no begin")
        if self.device != "cpu" and not (
            self.device.partition(":")[0] == "cuda" and torch.cuda.is_available()
        ):
            raise ConfigError(f"there is no device {self.device!r} here; use cpu, or cuda if it is")


def read_recipe(file: Path, device: str | None = None) -> tuple[TrainConfig, Recipe | Exits]:
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
    if not (isinstance(recipe, type) and issubclass(recipe, (Recipe, Exits))):
        raise ConfigError(f"the recipe {config.recipe!r} is registered as {recipe!r}, no Recipe")
    check_tables(file, "train", config.recipe)
    return config, recipe(load_config(recipe.Config, config.recipe, file=file))


def views_of(config: TrainConfig) -> Views:
    """Return the changed copies of the training data that are asked for."""
    return Views(config.flip, config.shift, config.mix, config.cutmix, config.views, config.seed)


def _expanded(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that name files, with the values of environment variables."""
    found: dict[str, Any] = {"teachers": tuple(map(expandvars, config.teachers))}
    for name in ("model", "data", "calib", "test", "begin"):
        text = getattr(config, name)
        found[name] = None if text is None else expandvars(text)
    return found
