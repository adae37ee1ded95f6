"""Live sources on their schedule, pulled ones when there is room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitnet.edge.pace import Pace, frames_of
from splitnet.edge.sources import Frame, NpzSource

FRAMES = [Frame(str(number), lambda: np.zeros(1)) for number in range(3)]


def test_a_pulled_source_waits_for_room_and_never_for_time() -> None:
    pace = Pace(iter(FRAMES), None)
    assert pace.take(1.0, room=False) is None
    assert pace.take(2.0, room=True) == (FRAMES[0], 2.0)
    assert pace.take(2.0, room=True) == (FRAMES[1], 2.0)
    assert pace.wakeup_s is None
    assert not pace.exhausted
    assert pace.take(9.0, room=True) == (FRAMES[2], 9.0)
    assert pace.exhausted
    assert pace.take(9.0, room=True) is None


def test_a_live_source_keeps_its_schedule_whether_there_is_room_or_not() -> None:
    pace = Pace(iter(FRAMES), 10.0)
    assert pace.take(5.0, room=False) == (FRAMES[0], 5.0)
    assert pace.wakeup_s == pytest.approx(5.1)
    assert pace.take(5.09, room=True) is None
    for frame, arrived_s in ((FRAMES[1], 5.1), (FRAMES[2], 5.2)):
        taken = pace.take(5.25, room=False)
        assert taken is not None
        assert taken[0] is frame
        assert taken[1] == pytest.approx(arrived_s)
    assert pace.exhausted
    assert pace.wakeup_s is None


def test_a_stopped_source_gives_nothing_more() -> None:
    pace = Pace(iter(FRAMES), None)
    pace.stop()
    assert pace.exhausted
    assert pace.take(1.0, room=True) is None


def test_no_frames_at_all() -> None:
    assert Pace(iter(()), 10.0).exhausted


def test_a_source_is_repeated_up_to_the_limit(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2, 2), np.uint8))
    source = NpzSource(str(tmp_path / "x.npz"))
    rows = [frame.name[-3:] for frame in frames_of(source, 2, None)]
    assert rows == ["[0]", "[1]", "[2]"] * 2
    assert len(list(frames_of(source, 1000, 7))) == 7
    assert len(list(frames_of(source, 1, 7))) == 3
