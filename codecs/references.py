"""Earlier frames of a stream, from which a codec may predict the next one."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from splitnet.errors import MissingReferenceError

KEPT_FRAMES = 4
"""Frames that each side keeps, so that losing one does not cost the newest that arrived."""


class References:
    """The decoded symbols of the last frames of one tensor of a stream, by frame number.

    Each side keeps one for each tensor of each stream, and sets `number` before it encodes or
    decodes a frame; the codec reads the frames that it predicts from and stores the frame's own
    symbols. An encoder that learns that a frame was lost forgets it.

    Attributes
    ----------
    number
        Number of the frame that is coded now.
    """

    def __init__(self) -> None:
        self.number = 0
        self._frames: dict[int, NDArray[Any]] = {}

    def newest(self) -> int | None:
        """Return the number of the newest frame in front of this one, ``None`` without any."""
        return max((number for number in self._frames if number < self.number), default=None)

    def get(self, number: int) -> NDArray[Any]:
        """Return the symbols of frame `number`.

        Raises
        ------
        MissingReferenceError
            They never arrived, or were dropped for newer ones.
        """
        if number not in self._frames:
            kept = ", ".join(map(str, sorted(self._frames))) or "none"
            raise MissingReferenceError(
                f"frame {self.number} of a stream is predicted from frame {number}, which is not "
                f"here (kept: {kept}); ask for a key frame"
            )
        return self._frames[number]

    def put(self, symbols: NDArray[Any]) -> None:
        """Keep `symbols` as those of the frame `number`, and drop the oldest beyond the bound."""
        self._frames[self.number] = symbols
        for number in sorted(self._frames)[:-KEPT_FRAMES]:
            del self._frames[number]

    def forget(self, first: int = 0) -> None:
        """Drop the frames from `first` on: they did not arrive at the other side."""
        for number in [number for number in self._frames if number >= first]:
            del self._frames[number]
