"""The networks that a student imitates, and their answers on disk so that they run once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.bundle.npz import ZIP_DAMAGE
from splitnet.console import Progress
from splitnet.errors import ModelError
from splitnet.training.checkpoints import write_whole
from splitnet.training.views import Data, Views

TEACHER_BATCH = 250

PROBE_DECIMALS = 2
"""Of the answer by which two networks of the same weights are told apart; the rest is rounding."""

LUCK = 3.0
"""Standard deviations above chance from which a teacher's score is no accident."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Where and in which precision networks are computed."""

    device: str = "cpu"
    bf16: bool = False

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which convolutions and products run in bfloat16 if asked to."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bf16)

    def tensor(self, x: Tensor) -> Tensor:
        """Return `x` on the device; images with their channels last, which is faster."""
        x = x.to(self.device)
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def hash_modules(modules: Sequence[nn.Module]) -> str:
    """Return the SHA-256 of the weights of networks."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Teacher:
    """Networks of the same form whose mean answer is imitated.

    Parameters
    ----------
    cache
        Folder of the answers, ``None`` to compute them each time.
    """

    def __init__(
        self, networks: Sequence[nn.Module], arithmetic: Arithmetic, cache: Path | None = None
    ) -> None:
        self._networks = [network.eval() for network in networks]
        self._arithmetic = arithmetic
        self._cache = cache
        self._weights = hash_modules(networks)
        self._keys: dict[str, str] = {}
        self._last: tuple[Any, NDArray[Any]] | None = None
        for network in self._networks:
            network.to(arithmetic.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def answer(self, x: Tensor) -> Tensor:
        """Return the mean answer to prepared inputs, float32."""
        with torch.no_grad(), self._arithmetic.autocast():
            found = [network(self._arithmetic.tensor(x)).float() for network in self._networks]
        return torch.stack(found).mean(0)

    def key(self, data: Data) -> str:
        """Return what names these networks: their weights, and what they say to a sample of `data`.

        The same weights in another order of operations are another network.
        """
        if data.key not in self._keys:
            said = self.answer(torch.from_numpy(data.inputs([0]))).cpu().numpy()
            rounded = np.round(said, PROBE_DECIMALS) + 0.0  # which makes -0 a 0
            digest = hashlib.sha256(self._weights.encode() + rounded.tobytes())
            self._keys[data.key] = digest.hexdigest()
        return self._keys[data.key]

    def answers(self, data: Data, views: Views, number: int, progress: Progress) -> NDArray[Any]:
        """Return the answers to all samples of a copy of `data`, from the cache if they are there.

        Kept as float16: a distillation does not need more.
        """
        wanted = (data.key, views.key, number)
        if self._last is not None and self._last[0] == wanted:
            return self._last[1]
        file = self._file(data, views, number)
        found = None if file is None else _read(file, data.count)
        if found is None:
            found = self._compute(data, views, number, progress)
            if file is not None:
                content = io.BytesIO()
                np.save(content, found, allow_pickle=False)
                write_whole(file, content.getvalue())
        self._last = (wanted, found)
        return found

    def _compute(self, data: Data, views: Views, number: int, progress: Progress) -> NDArray[Any]:
        progress.step(f"asking the teacher about copy {number} of the data", data.count)
        parts = []
        for start in range(0, data.count, TEACHER_BATCH):
            rows = np.arange(start, min(start + TEACHER_BATCH, data.count))
            parts.append(self.answer(views.inputs(data, number, rows)).cpu().numpy())
            progress.advance(len(rows))
        return np.concatenate(parts).astype(np.float16)

    def _file(self, data: Data, views: Views, number: int) -> Path | None:
        if self._cache is None or not (views.plain or views.count):
            return None
        names = (self.key(data), data.key, views.key, str(number), str(self._arithmetic.bf16))
        return self._cache / f"{hashlib.sha256(' '.join(names).encode()).hexdigest()[:32]}.npy"


def check_teacher(answers: NDArray[Any], labels: NDArray[np.int64] | None) -> float | None:
    """Return the score of a teacher on labelled data, ``None`` without labels.

    Raises
    ------
    ModelError
        It is no better than chance, or answers with numbers that are not finite.
    """
    if not np.isfinite(answers).all():
        raise ModelError("the teacher's answers are not finite; check --preprocess and the weights")
    if labels is None:
        return None
    right = answers.argmax(-1).reshape(len(answers), -1) == labels
    score, chance = float(right.mean()), 1 / answers.shape[-1]
    luck = LUCK * float(np.sqrt(chance * (1 - chance) / right.size))
    if score <= chance + luck:
        raise ModelError(
            f"the teacher is right on {score:.1%} of {len(answers)} calibration samples, chance "
            f"alone on {chance:.1%}: check its weights, the preprocessing and the labels"
        )
    return score


def _read(file: Path, count: int) -> NDArray[Any] | None:
    """Return the answers in `file`; what is damaged is computed again."""
    try:
        found = np.load(file, allow_pickle=False)
    except (*ZIP_DAMAGE, OSError, ValueError, EOFError):
        return None
    kept: NDArray[Any] | None = found if len(found) == count else None
    return kept
