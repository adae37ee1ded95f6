"""What a drawn row makes of stages and answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from splitnet.bundle import Bundle
from splitnet.machines.agent_io import (
    CloudResult,
    Deliver,
    Encode,
    Encoded,
    LocalResult,
    Prepare,
    RunExit,
    RunSegments,
)
from splitnet.sim.rows import SampleRows
from splitnet.values import Provenance
from splitnet.wire import Hollow

ROW = 17


def test_stages_give_what_the_row_says(sample_bundle: Bundle) -> None:
    rows, table = SampleRows(sample_bundle), sample_bundle.table
    assert len(rows) == len(table)
    assert rows.outcome(Prepare(), ROW) is None
    assert rows.outcome(RunSegments(0, 2), ROW) is None
    sent = rows.outcome(Encode("bottleneck", 1), ROW)
    assert sent == Encoded(Hollow(int(table.paths["bottleneck", 1].bytes[ROW])))
    early = rows.outcome(RunExit("e1"), ROW)
    assert isinstance(early, LocalResult)
    assert np.float32(early.confidence) == table.exits["e1"].confidence[ROW]
    end = rows.outcome(RunSegments(1, 3), ROW)
    assert isinstance(end, LocalResult)
    assert np.float32(end.confidence) == table.paths["input", 0].confidence[ROW]


def delivered(result: Any, plan: str) -> Deliver:
    origin = Provenance("cloud", plan, None, 1, (0, 1), None, 0, 0, 0, {}, "")
    return Deliver(1, 0, result, origin, 0.1, None, None, 0.0)


@pytest.mark.parametrize("plan", ["c1@1", "c1@1+exits"])
def test_an_answer_of_the_cloud_is_that_of_its_path(sample_bundle: Bundle, plan: str) -> None:
    found = SampleRows(sample_bundle).answer(delivered(CloudResult(Hollow(40)), plan), ROW)
    assert found is not None
    assert found.score == sample_bundle.table.paths["c1", 1].score[ROW]


def test_a_local_answer_is_what_its_stage_found(sample_bundle: Bundle) -> None:
    rows = SampleRows(sample_bundle)
    result = rows.outcome(RunExit("e1"), ROW)
    found = rows.answer(delivered(result, "device:e1"), ROW)
    assert found is not None
    assert found.score == sample_bundle.table.exits["e1"].score[ROW]
    assert rows.answer(delivered(None, "c1@1"), ROW) is None
