"""What a training of exits reached, as its folder of results holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from splitnet.errors import TrainingError
from splitnet.training.checkpoints import part
from splitnet.training.results import Folder

HEADS, NETWORK = "heads", "network"
"""Parts of the weights: the heads, and the network if it has learned with them."""


@dataclass(frozen=True, slots=True)
class ExitResult:
    """One exit.

    Attributes
    ----------
    calibration, test
        Its score when all samples leave there.
    temperature
        Fitted to the calibration data of the training; a build fits its own.
    flops
        Work of its head for one sample.
    """

    place: str
    calibration: float
    test: float
    temperature: float
    flops: int


@dataclass(frozen=True, slots=True)
class ExitResults:
    """What a training of exits reached, and what makes it again.

    Attributes
    ----------
    recipe, config, settings, git, notes
        As in `splitnet.training.results.Results`.
    network
        SHA-256 of the weights of the network that the heads belong to: as it learned with them if
        it did.
    joint
        Whether it learned with them.
    teacher
        The teacher's score on calibration and test data, ``None`` without labels.
    whole
        That of the network behind the training, whose answers count when nothing leaves early.
    exits
        In the order of ``config["places"]``.
    flops
        Work of the network for one sample.
    """

    recipe: str
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    network: str
    joint: bool
    teacher: tuple[float | None, ...]
    whole: tuple[float, ...]
    exits: tuple[ExitResult, ...]
    flops: int
    seconds: float
    git: str
    notes: tuple[str, ...]


def load_network(folder: Folder, network: nn.Module) -> None:
    """Give `network` the weights that a joint training of exits left.

    Raises
    ------
    TrainingError
        The folder holds no such training, or the weights are those of another network.
    """
    if not folder.read(ExitResults).joint:
        raise TrainingError(
            f"{folder.path} holds exits of a frozen network; give the network itself as the model"
        )
    load_part(folder, NETWORK, network)


def load_part(folder: Folder, name: str, module: nn.Module) -> None:
    """Give `module` the weights of a part, `HEADS` or `NETWORK`; what they lack stays.

    Raises
    ------
    TrainingError
        They are those of another module.
    """
    own, found = module.state_dict(), part(folder.weights(), name)
    strange = [k for k, v in found.items() if k not in own or own[k].shape != v.shape]
    if strange or not found:
        what = f"{strange[0]} does not fit" if strange else "there are none"
        raise TrainingError(f"{folder.path}: the {name} have other weights than it has ({what})")
    module.load_state_dict({**own, **found})
