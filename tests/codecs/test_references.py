"""What a side remembers of a stream."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.codecs.references import KEPT_FRAMES, References
from splitnet.errors import MissingReferenceError


def frames(count: int) -> References:
    references = References()
    for number in range(count):
        references.number = number
        references.put(np.full(3, number, np.uint8))
    references.number = count
    return references


def test_the_newest_frame_in_front_is_found() -> None:
    references = frames(3)
    assert references.newest() == 2
    references.number = 2
    assert references.newest() == 1
    assert References().newest() is None


def test_only_the_last_frames_are_kept() -> None:
    references = frames(KEPT_FRAMES + 2)
    assert references.get(2)[0] == 2
    with pytest.raises(MissingReferenceError, match=r"frame 6 .* from frame 1, which is not here"):
        references.get(1)


def test_a_lost_frame_is_forgotten_with_those_behind_it() -> None:
    references = frames(4)
    references.forget(2)
    assert references.newest() == 1
    references.forget()
    with pytest.raises(MissingReferenceError, match="kept: none"):
        references.get(0)
