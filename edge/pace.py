"""When frames arrive: on the schedule of a live source, or as soon as there is room."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, repeat

from splitnet.edge.sources import Frame, Source


class Pace:
    """When the next frame is due: on a schedule, or as soon as there is room.

    Parameters
    ----------
    rate_hz
        Frames a second, whether the agent keeps up or not; ``None`` waits for room.
    """

    def __init__(self, frames: Iterator[Frame], rate_hz: float | None) -> None:
        self._frames = frames
        self._interval_s = None if rate_hz is None else 1.0 / rate_hz
        self._next: Frame | None = next(frames, None)
        self._due_s: float | None = None

    @property
    def exhausted(self) -> bool:
        """Whether there are no more frames."""
        return self._next is None

    @property
    def wakeup_s(self) -> float | None:
        """When the next frame of a live source is due."""
        return None if self.exhausted or self._interval_s is None else self._due_s

    def stop(self) -> None:
        """Produce nothing more."""
        self._next = None

    def take(self, now_s: float, room: bool) -> tuple[Frame, float] | None:
        """Return the next frame and its arrival if it is due, ``None`` otherwise."""
        if self._next is None:
            return None
        if self._due_s is None:
            self._due_s = now_s
        if self._interval_s is None:
            if not room:
                return None
            arrived_s = now_s
        elif now_s < self._due_s:
            return None
        else:
            arrived_s = self._due_s
            self._due_s += self._interval_s
        frame, self._next = self._next, next(self._frames, None)
        return frame, arrived_s


def frames_of(source: Source, times: int, limit: int | None) -> Iterator[Frame]:
    """Return the frames of a source, gone through `times` times, at most `limit` in all."""
    return islice(chain.from_iterable(source.frames() for _ in repeat(None, times)), limit)
