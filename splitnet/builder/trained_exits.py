"""From a folder of trained exits to the heads of a bundle; a build can begin with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from splitnet.builder.data import Roles
from splitnet.builder.model import SourceModel
from splitnet.builder.overlap import check_learned_from
from splitnet.builder.train_exits import make_heads
from splitnet.config import load_config
from splitnet.errors import ConfigError, ModelError
from splitnet.training.addressing import Network
from splitnet.training.exit_recipe import Exits, ExitsConfig
from splitnet.training.exit_results import HEADS, ExitResults, load_part
from splitnet.training.results import Folder
from splitnet.training.teacher import hash_modules


class TrainedExits:
    """The exits in a folder of results, to become part of a bundle.

    Raises
    ------
    TrainingError
        The folder holds no finished training of exits, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Folder(folder)
        self.results = self._folder.read(ExitResults)
        options = self.results.config
        self._recipe = Exits(load_config(ExitsConfig, Exits.id, options=options))

    def exit_at(self, asked: str, automatic: str) -> str:
        """Return the cuts of the exits as ``--exit-at`` names them.

        Raises
        ------
        ConfigError
            Others were asked for.
        """
        own = ",".join(self._recipe.config.places)
        if asked not in (own, automatic):
            raise ConfigError(
                f"--exit-at {asked}: the exits in {self._folder.path} were trained for {own}; "
                "leave --exit-at out"
            )
        return own

    def check_roles(self, roles: Roles) -> tuple[str, ...]:
        """Return notes on data that the exits have learned from.

        Raises
        ------
        ConfigError
            Calibration or test data is among it.
        """
        return check_learned_from(self._folder, "the exits", roles)

    def heads(self, model: SourceModel, example: NDArray[Any]) -> nn.ModuleList:
        """Return the trained heads.

        Parameters
        ----------
        example
            A prepared input ``(1, ...)``.

        Raises
        ------
        ModelError
            They were trained on another network, or the model is no torch module.
        """
        path, joint = self._folder.path, self.results.joint
        if model.module is None:
            raise ModelError("--exit-heads DIR needs a torch model (module:callable), not a file")
        if hash_modules([model.module]) != self.results.network:
            hint = (
                f"the network has learned along: give --model {path}"
                if joint
                else "train again, or give the model that they were trained with"
            )
            raise ModelError(
                f"the exits in {path} were trained on a network with other weights than "
                f"{model.name} has; {hint}"
            )
        network = Network(model.module, torch.from_numpy(np.array(example)))
        seed = int(self.results.settings.get("seed", 0))
        heads = make_heads(self._recipe, network, self.results.flops, seed)
        load_part(self._folder, HEADS, heads)
        return heads
