"""A training from the first stage to the last, interrupted and not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.console import Silent
from splitnet.errors import ConfigError, PartitionError
from splitnet.training.checkpoints import Checkpoint
from splitnet.training.entropic import Entropic
from splitnet.training.ghnd import Ghnd, GhndConfig
from splitnet.training.session import Record, Session, describe
from tests.training.conftest import TINY, MakeTask


class _Interrupting(Silent):
    """Stops a training at a step."""

    def __init__(self, at: int) -> None:
        self._left = at

    def advance(self, units: float = 1, note: str = "") -> None:
        if note.startswith("loss"):
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt


def _equal(a: Session, b: Session) -> bool:
    first, second = a.student.state_dict(), b.student.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_every_stage_runs_and_reports(make_task: MakeTask) -> None:
    records: list[Record] = []
    session = Session(make_task(), Silent())
    before = {name: value.clone() for name, value in session.student.state_dict().items()}
    session.run(report=records.append)
    assert [(r.stage, r.epoch) for r in records] == [
        ("features", 1),
        ("answers", 1),
        ("answers", 2),
        ("frozen encoder", 1),
    ]
    assert all(len(r.scores) == len(r.bytes) == 3 for r in records)
    assert records[-1].bytes == records[-2].bytes  # behind a frozen encoder
    after = session.student.state_dict()
    assert not torch.equal(before["tail.head.weight"], after["tail.head.weight"])
    assert not torch.equal(before["encoder.out.weight"], after["encoder.out.weight"])
    assert "loss" in describe(records[0]) and "B" in describe(records[0])


@pytest.mark.parametrize("at", [2, 5, 11])
def test_a_resumed_training_is_bit_identical(make_task: MakeTask, tmp_path: Path, at: int) -> None:
    whole = Session(make_task(), Silent())
    whole.run()
    checkpoint = Checkpoint(tmp_path / "state", "key", every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        Session(make_task(), _Interrupting(at)).run(checkpoint)
    resumed = Session(make_task(), Silent())
    resumed.run(checkpoint, checkpoint.load())
    assert _equal(resumed, whole)


def test_the_seed_decides(make_task: MakeTask) -> None:
    first, again, other = (Session(make_task(seed=seed), Silent()) for seed in (0, 0, 1))
    assert _equal(first, again) and not _equal(first, other)


def test_a_student_begins_with_the_weights_of_another(make_task: MakeTask) -> None:
    trained = Session(make_task(), Silent())
    trained.run()
    weights = trained.student.state_dict()
    untrained = replace(TINY, feature_epochs=0, joint_epochs=0, decoder_epochs=0)
    begun = Session(make_task(begin=weights, recipe=Entropic(untrained)), Silent())
    begun.run()
    assert _equal(begun, trained)
    without_tail = {k: v for k, v in weights.items() if not k.startswith("tail.")}
    Session(make_task(begin=without_tail), Silent())
    with pytest.raises(ConfigError, match="weights to begin with are those of another student"):
        Session(make_task(begin={**weights, "encoder.out.bias": torch.zeros(3)}), Silent())


def test_a_deeper_encoder_begins_as_the_one_without_further_blocks(make_task: MakeTask) -> None:
    shallow = Session(make_task(), Silent())
    weights = shallow.student.state_dict()
    deeper = Session(
        make_task(begin=weights, recipe=Entropic(replace(TINY, encoder_blocks=2))), Silent()
    )
    assert len(deeper.student.state_dict()) == len(weights) + 8
    same = deeper.latents(deeper.task.calibration) == shallow.latents(shallow.task.calibration)
    assert same.all()
    deeper.run()
    grown = deeper.student.get_parameter("encoder.blocks.1.b.weight")
    assert grown.abs().max() > 0
    with pytest.raises(ConfigError, match=r"encoder.blocks.0.a.weight does not fit"):
        Session(make_task(begin=deeper.student.state_dict()), Silent())


def test_latents_lead_to_answers(make_task: MakeTask) -> None:
    session = Session(make_task(), Silent())
    latents = session.latents(session.task.calibration)
    answers = session.finish(np.round(latents))
    assert latents.shape == (24, 4, 4, 4) and answers.shape == (24, 3)


def test_a_dry_run_changes_nothing(make_task: MakeTask) -> None:
    session, other = (Session(make_task(), Silent()) for _ in range(2))
    found = session.dry_run()
    assert list(found["stages_s"]) == ["features", "answers", "frozen encoder", "teacher"]
    assert found["total_s"] > 0 and len(found["bytes"]) == 3
    assert _equal(session, other)


def test_matched_places_reach_the_loss(make_task: MakeTask) -> None:
    recipe = Ghnd(GhndConfig(2, ("stage", "head"), (8, 8), (8, 8, 8), epochs=1))
    records: list[Record] = []
    Session(make_task(recipe=recipe), Silent()).run(report=records.append)
    assert len(records) == 1 and len(records[0].scores) == 1


@pytest.mark.parametrize("changes", [{"source": "stag"}, {"target": "stag"}])
def test_a_place_that_does_not_exist_is_named(make_task: MakeTask, changes: dict[str, str]) -> None:
    with pytest.raises(PartitionError, match="no place 'stag' \\(did you mean 'stage'"):
        Session(make_task(**changes), Silent())


def test_hints_reach_the_loss_of_the_later_stages(make_task: MakeTask) -> None:
    config = replace(TINY, matched=("stage",), hints=("reducemean:0",))
    figures = {}
    for weight in (0.0, 5.0):
        task = make_task(recipe=Entropic(replace(config, hint_weight=weight)))
        records: list[Record] = []
        Session(task, Silent()).run(report=records.append)
        figures[weight] = [record.figures["distortion"] for record in records]
    assert figures[0.0][0] == figures[5.0][0], "the first stage has no hints"
    assert figures[0.0][1] < figures[5.0][1]


def test_fixed_statistics_stay(make_task: MakeTask) -> None:
    config = replace(TINY, feature_epochs=0, rate=0.0001, tail_rate=0.01)
    for fixed in (True, False):
        task = make_task(recipe=Entropic(replace(config, fixed_statistics=fixed)), target="input")
        session = Session(task, Silent())
        session.run()
        after = session.student.tail.state_dict()
        before = task.network.module.state_dict()
        same = {name: torch.equal(after[name], before[name]) for name in after}
        assert same["norm.running_mean"] is fixed
        assert not same["norm.weight"], "what is learned moves in both"
