"""One thread that runs the stages, so that the reactor never waits for a network's layer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from splitnet.errors import OverloadError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """How a job ended: with a value, or with an error.

    ``duration_s`` is the time of the job alone, without queueing.
    """

    job: int
    duration_s: float
    value: T | None = None
    error: Exception | None = None


class Executor(Generic[T]):
    """Runs one job at a time on a thread of its own and hands results back by a queue.

    Parameters
    ----------
    name
        Name of the thread.
    wake
        Called on the executor's thread whenever a result waits to be taken.
    """

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._jobs: SimpleQueue[tuple[int, Callable[[], T]] | None] = SimpleQueue()
        self._results: SimpleQueue[Done[T]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._busy = False

    @property
    def busy(self) -> bool:
        """Whether a job is under way or its result has not been taken yet."""
        return self._busy

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: int, work: Callable[[], T]) -> None:
        """Run `work`; its result carries the number `job`.

        Raises
        ------
        OverloadError
            The previous job's result has not been taken yet.
        """
        if self._busy:
            raise OverloadError(f"the executor takes one job at a time; job {job} came too early")
        self._busy = True
        self._jobs.put((job, work))

    def take(self) -> Done[T] | None:
        """Return the result that waits, if any."""
        try:
            done = self._results.get_nowait()
        except Empty:
            return None
        self._busy = False
        return done

    def close(self) -> None:
        """Let the job under way end, then end the thread; its result is lost."""
        self._jobs.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Executor[T]:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _work(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, work = entry
            started_s = time.monotonic()
            try:
                value, error = work(), None
            except Exception as failure:  # whatever a stage raises ends that stage alone
                value, error = None, failure
            self._results.put(Done(job, time.monotonic() - started_s, value, error))
            self._wake()
