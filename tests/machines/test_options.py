"""Which continuations a request has once an exit has spoken, and what they cost."""

from __future__ import annotations

import pytest

from splitnet.bundle import Bundle
from splitnet.machines.agent_io import LocalResult
from splitnet.machines.options import OptionBook
from splitnet.machines.request import Request
from splitnet.machines.stage_times import StageTimes
from splitnet.values import Option, OptionKind


@pytest.fixture
def book(sample_bundle: Bundle) -> OptionBook:
    """The options of the sample bundle."""
    return OptionBook(sample_bundle, StageTimes(sample_bundle.advice.profiles[0]))


def behind_exit(book: OptionBook, confidence: float) -> list[Option]:
    """Return the options behind the first exit, whose answer has this confidence."""
    exit_id, head = next(iter(book.exits.items()))
    request = Request(id=1, frame=0, arrived_s=0.0, due_s=1.0, deadline_s=1.0)
    request.boundary = head.boundary
    request.results[exit_id] = LocalResult(confidence, object())
    paths = {plan.split("@")[0] for plan in book.keys()}
    return book.options(request, 1.0, paths)


def test_an_exit_that_is_sure_may_answer_whatever_the_plan_was(book: OptionBook) -> None:
    answers = [o for o in behind_exit(book, 1.0) if o.kind is OptionKind.ANSWER]
    assert len(answers) == 1
    assert answers[0].plan.exits and answers[0].device_s == 0.0


def test_an_exit_that_is_not_sure_does_not_answer_while_the_cloud_can(book: OptionBook) -> None:
    assert OptionKind.ANSWER not in {o.kind for o in behind_exit(book, 0.0)}


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_who_goes_on_behind_an_exit_does_not_leave_there(
    book: OptionBook, confidence: float
) -> None:
    options = [o for o in behind_exit(book, confidence) if o.kind is not OptionKind.ANSWER]
    assert any(option.plan.exits for option in options)
    assert all(option.exit_share == 0.0 for option in options)
