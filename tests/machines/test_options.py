"""Which continuations a request has once an exit has spoken, and what they cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from splitnet.bundle import Bundle
from splitnet.machines import options
from splitnet.machines.agent_io import Encode, LocalResult
from splitnet.machines.options import OptionBook
from splitnet.machines.request import Request
from splitnet.machines.stage_times import StageTimes
from splitnet.values import Option, OptionKind, TensorSpec


@pytest.fixture
def times(alike: Bundle) -> StageTimes:
    """The stage times of the sample bundle."""
    return StageTimes(alike.advice.profiles[0])


@pytest.fixture
def book(alike: Bundle, times: StageTimes) -> OptionBook:
    """The options of the sample bundle."""
    return OptionBook(alike, times)


def behind_exit(book: OptionBook, confidence: float) -> list[Option]:
    """Return the options behind the first exit, whose answer has this confidence."""
    exit_id, head = next(iter(book.exits.items()))
    request = Request(id=1, frame=0, arrived_s=0.0, due_s=1.0, deadline_s=1.0)
    request.boundary = head.boundary
    assert book.hear(request, exit_id, LocalResult(confidence, object()))
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


def fresh(book: OptionBook, paths: set[str]) -> list[str]:
    """Return the names of the ways to the cloud that a new request has."""
    request = Request(id=1, frame=0, arrived_s=0.0, due_s=1.0, deadline_s=1.0)
    options = book.options(request, 1.0, paths)
    return [option.key for option in options if option.kind is OptionKind.OFFLOAD]


def test_plans_that_others_beat_on_this_device_are_not_offered(book: OptionBook) -> None:
    """At equal times of the stages a cut that sends more and computes more cannot win."""
    everything = {key for key in book.keys() if not key.startswith("device")}
    offered = set(fresh(book, {"input", "c1", "c2", "bottleneck"}))
    assert "input@0" in offered and "c1@0" in everything - offered


def test_a_beaten_plan_is_offered_where_its_rivals_cannot_be_used(book: OptionBook) -> None:
    assert "c1@0" in fresh(book, {"c1"})
    assert "c1@0" not in fresh(book, {"c1", "input"})
    assert fresh(book, set()) == []


def test_new_times_of_the_stages_bring_a_beaten_plan_back(
    book: OptionBook, times: StageTimes
) -> None:
    assert "c2@0" not in fresh(book, {"input", "c2"})
    for _ in range(8):
        times.observe(Encode("input", 0), 0.1)
    assert "c2@0" in fresh(book, {"input", "c2"})


def test_prices_are_asked_for_once(book: OptionBook, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fresh(book, {"input", "c1"})
    monkeypatch.setattr(options, "undominated", None)
    assert fresh(book, {"c1", "input"}) == first


def test_what_a_policy_does_not_consider_beats_nothing(book: OptionBook) -> None:
    book.keep(lambda key: key.startswith("c1"))
    assert "c1@0" in fresh(book, {"c1", "input"})


def test_replies_of_dynamic_size_are_as_large_as_those_of_the_golden_samples(
    sample_bundle: Bundle,
) -> None:
    contract = sample_bundle.contract
    text = TensorSpec("y", "float32", ("N", "T", 10))
    end = replace(contract.boundaries[-1], tensors=(text,))
    contract = replace(contract, boundaries=(*contract.boundaries[:-1], end))
    for sizes, nbytes in [({"T": 6}, 240), ({}, 40)]:
        digest = contract.sha256
        advice = replace(sample_bundle.advice, contract_sha256=digest, sizes=sizes)
        times = StageTimes(advice.profiles[0])
        book = OptionBook(Bundle(contract, advice, sample_bundle.table), times)
        offload = [o for o in book.all_options() if o.kind is OptionKind.OFFLOAD]
        assert {option.downlink_bytes for option in offload} == {nbytes}
