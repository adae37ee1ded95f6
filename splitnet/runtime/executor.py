"""One thread that runs the stages, so that the reactor never waits for more than a blink."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from splitnet.errors import OverloadError

T = TypeVar("T")

SHORT_S = 0.0003
"""Work expected to take less is run at once: two thread switches cost about as much (measured)."""


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
        Called whenever a result waits to be taken, mostly on the executor's thread.
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

    def submit(self, job: int, work: Callable[[], T], expected_s: float = 0.0) -> None:
        """Run `work`; its result carries the number `job`.

        Work that is expected to be short runs before this method returns, on the caller's thread;
        0 stands for work of unknown length.

        Raises
        ------
        OverloadError
            The previous job's result has not been taken yet.
        """
        if self._busy:
            raise OverloadError(f"the executor takes one job at a time; job {job} came too early")
        self._busy = True
        if 0 < expected_s < SHORT_S:
            self._run(job, work)
        else:
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
            self._run(*entry)

    def _run(self, job: int, work: Callable[[], T]) -> None:
        started_s = time.monotonic()
        try:
            value, error = work(), None
        except Exception as failure:  # whatever a stage raises ends that stage alone
            value, error = None, failure
        self._results.put(Done(job, time.monotonic() - started_s, value, error))
        self._wake()
