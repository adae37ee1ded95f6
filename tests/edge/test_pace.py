"""Live sources on their schedule, pulled ones when there is room."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.edge.agent import Pace
from splitnet.edge.sources import Frame

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
