"""A training on disk: tensors and facts in one file that is replaced whole or not at all."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load, save
from torch import Tensor

from splitnet.errors import TrainingError

_log = logging.getLogger(__name__)

EVERY_S = 60.0
"""What ends a training without a signal that it sees costs at most so much of it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint holds.

    Attributes
    ----------
    tensors
        States of network, optimiser and generators by name.
    facts
        Everything else, as JSON.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix` and a slash, without both."""
        return part(self.tensors, prefix)


class Checkpoint:
    """The file of a training's latest state.

    Parameters
    ----------
    key
        What the training depends on; the state of another one is refused.
    """

    def __init__(
        self,
        file: Path,
        key: str,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.file = file
        self._key = key
        self._every_s = every_s
        self._clock = clock
        self._last_s = clock()
        self.interrupted = False

    @property
    def due(self) -> bool:
        """Whether the last state is old enough to be replaced, or the training is to end."""
        return self.interrupted or self._clock() - self._last_s >= self._every_s

    @contextmanager
    def keeping_interrupts(self) -> Iterator[None]:
        """Let the first interrupt end a training behind its next step, with the state kept.

        A second one ends it at once. Where another thread trains, or somebody else handles
        interrupts, nothing changes.

        Raises
        ------
        KeyboardInterrupt
            There was an interrupt.
        """
        before = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if not main or before is not signal.default_int_handler:
            yield
            return

        def keep(number: int, frame: object) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)
            _log.warning("interrupted: ends behind the next step, with its state; again: at once")

        signal.signal(signal.SIGINT, keep)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if self.interrupted:
            raise KeyboardInterrupt

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replace the file.

        Raises
        ------
        TrainingError
            It cannot be written; the one before is still there.
        """
        write_tensors(self.file, tensors, {"key": self._key, **facts})
        self._last_s = self._clock()

    def load(self) -> Kept | None:
        """Return what was saved last, ``None`` if nothing was.

        Raises
        ------
        TrainingError
            The file is damaged, or of a training of something else.
        """
        if not self.file.exists():
            return None
        kept = read_tensors(self.file)
        if kept.facts.get("key") != self._key:
            raise TrainingError(
                f"{self.file} belongs to another training: recipe, network or data have changed "
                "since; give another --out, or go on with what it was begun with"
            )
        return kept

    def delete(self) -> None:
        """Delete the file of a training that has ended."""
        self.file.unlink(missing_ok=True)


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix` and a slash, without both."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under names that begin with `prefix` and a slash."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turn what goes wrong while `file` is written into a `TrainingError`."""
    try:
        yield
    except OSError as error:
        raise TrainingError(f"cannot write {file}: {error.strerror or error}") from error


def write_whole(file: Path, content: bytes) -> None:
    """Write `file`, below folders that may be new, whole or not at all.

    Raises
    ------
    TrainingError
        It cannot be written.
    """
    partial = file.with_name(f"{file.name}.new")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)


def write_tensors(file: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write `file` whole or not at all.

    Raises
    ------
    TrainingError
        It cannot be written.
    """
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_whole(file, save(plain, {"facts": json.dumps(facts)}))


def read_tensors(file: Path) -> Kept:
    """Return what `write_tensors` wrote.

    Raises
    ------
    TrainingError
        The file is missing or damaged.
    """
    try:
        with safetensors.safe_open(file, "pt") as opened:
            facts = json.loads((opened.metadata() or {}).get("facts", "{}"))
        return Kept(load(file.read_bytes()), facts)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise TrainingError(f"{file} is missing or damaged ({error})") from error
