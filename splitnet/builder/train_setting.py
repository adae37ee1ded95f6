"""What every training stands on: network, teachers and data, loaded and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from splitnet.builder.data import Dataset, Roles, load_roles
from splitnet.builder.execution import prepare_row
from splitnet.builder.labelling import check_labels
from splitnet.builder.overlap import check_overlap
from splitnet.builder.torch_source import build_module
from splitnet.builder.train_config import TrainConfig, views_of
from splitnet.bundle.json_form import canonical
from splitnet.console import Progress
from splitnet.runtime.answers import labels, score
from splitnet.runtime.preprocess import default_steps, parse_steps
from splitnet.training.addressing import Network
from splitnet.training.checkpoints import Checkpoint, Kept
from splitnet.training.results import Folder
from splitnet.training.teacher import Arithmetic, Teacher, check_teacher, hash_modules
from splitnet.training.views import Data, Views
from splitnet.values import TensorSpec

CACHE = "teacher"
"""Folder beside the results in which all trainings keep what their teachers said."""


class Setting:
    """Network, teachers and data of a training.

    Attributes
    ----------
    network_key
        SHA-256 of the network's weights.
    samples
        A digest of each training sample.
    teacher_score
        On calibration data, ``None`` without labels.

    Raises
    ------
    ConfigError
        Roles share samples, or a label is none of the network's.
    ModelError
        The network cannot be followed, or its teacher is no better than chance.
    """

    def __init__(self, config: TrainConfig, folder: Folder, progress: Progress) -> None:
        self.config = config
        self.folder = folder
        self.progress = progress
        roles = load_roles(config.data, config.calib, config.test, config.seed)
        self.notes = [*roles.notes, *check_overlap(roles)]
        self.samples = roles.training.digests
        steps = _steps(config, roles)
        self.arithmetic = Arithmetic(config.device, config.bf16)
        module = build_module(config.model)
        example = torch.from_numpy(_prepare(roles.training, 0, steps))
        self.network_key = hash_modules([module])
        self.network = Network(module, example)
        others = [build_module(spec) for spec in config.teachers]
        self.training, self.calibration, self.test = (
            prepared(data, steps) for data in (roles.training, roles.calibration, roles.test)
        )
        self.views = views_of(config)
        self.teacher = Teacher([module, *others], self.arithmetic, folder.path.parent / CACHE)
        answers = self.teacher.answers(self.calibration, Views(), 0, progress)
        output = TensorSpec("answers", "float32", ("N", *answers.shape[1:]))
        for data in (roles.training, roles.calibration, roles.test):
            check_labels(data, output)
        self.teacher_score = check_teacher(answers, self.calibration.labels)

    def truth(self, data: Data) -> NDArray[np.int64]:
        """Return the labels of some data; without any, the teacher's answers."""
        if data.labels is not None:
            return data.labels
        return labels(self.teacher.answers(data, Views(), 0, self.progress))

    def teacher_scores(self) -> tuple[float | None, ...]:
        """Return the teacher's score on calibration and test data."""
        if self.test.labels is None:
            return self.teacher_score, None
        answers = self.teacher.answers(self.test, Views(), 0, self.progress)
        return self.teacher_score, float(score(labels(answers), self.test.labels).mean())

    def begin(self, text: str, recipe_config: Any, resume: bool) -> tuple[Checkpoint, Kept | None]:
        """Open the folder of results, and return the checkpoint and what is to be gone on with.

        Parameters
        ----------
        text
            The file of the training.
        """
        checkpoint = Checkpoint(self.folder.checkpoint, self._key(recipe_config))
        kept = checkpoint.load() if resume else None
        self.folder.begin(text)
        if kept is None:
            self.folder.forget()
        return checkpoint, kept

    def _key(self, recipe_config: Any) -> str:
        """Return what names everything that the training depends on."""
        settings = {k: v for k, v in asdict(self.config).items() if k not in ("device", "threads")}
        own = [settings, asdict(recipe_config), self.training.key, self.calibration.key]
        return hashlib.sha256(canonical([*own, self.teacher.key(self.calibration)])).hexdigest()


def prepared(data: Dataset, steps: Sequence[Any]) -> Data:
    """Return the samples of a role as a training takes them."""

    def inputs(rows: Sequence[int]) -> NDArray[np.float32]:
        return np.concatenate([_prepare(data, row, steps) for row in rows])

    digest = hashlib.sha256(canonical(list(steps)))
    for content in data.digests:
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


def count_flops(module: nn.Module, x: Tensor) -> int:
    """Return the work of `module` on `x`."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x.to(device_of(module)))
    return int(counter.get_total_flops())


def device_of(module: nn.Module) -> torch.device:
    """Return where the weights of a module are."""
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))
