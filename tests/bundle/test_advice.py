"""Advice: JSON form, damage, and whether it fits the contract."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from splitnet.bundle import Advice, Bundle
from splitnet.errors import BundleError

Json = dict[str, Any]
Change = Callable[[Json], object]


def test_json_round_trip(sample_bundle: Bundle, advice_json: Json) -> None:
    advice = Advice.from_json(advice_json)
    assert advice == sample_bundle.advice
    assert advice.to_json() == advice_json


def test_unknown_keys_are_ignored(sample_bundle: Bundle, advice_json: Json) -> None:
    advice_json["prefilters"] = [{"id": "p"}]
    advice_json["exits"][0]["margin"] = 0.5
    assert Advice.from_json(advice_json) == sample_bundle.advice


def test_a_prefilter_is_a_head_of_its_own(skipping_bundle: Bundle) -> None:
    advice = skipping_bundle.advice
    data = json.loads(json.dumps(advice.to_json()))
    assert Advice.from_json(data) == advice
    assert [head.id for head in advice.heads] == ["skip", "e1"]
    damages: list[tuple[Change, str]] = [
        (lambda d: d["prefilter"]["head"].update(id="s"), "head.id: is 's', must be 'skip'"),
        (lambda d: d["prefilter"].update(interest=[-1]), "must be labels"),
        (lambda d: d["exits"][0].update(id="skip"), "'skip' names the prefilter"),
        (lambda d: d.pop("prefilter"), "unknown exit 'skip'"),
    ]
    for change, message in damages:
        damaged = json.loads(json.dumps(data))
        change(damaged)
        with pytest.raises(BundleError, match=message):
            Advice.from_json(damaged)


def test_a_prefilter_stands_inside_the_network(skipping_bundle: Bundle) -> None:
    advice, contract = skipping_bundle.advice, skipping_bundle.contract
    assert advice.prefilter is not None
    head = dataclasses.replace(advice.prefilter.head, boundary=9)
    beyond = dataclasses.replace(advice.prefilter, head=head)
    with pytest.raises(BundleError, match="boundary: is 9, must be from 0 to 3"):
        dataclasses.replace(advice, prefilter=beyond, plans=()).check_against(contract)


def test_whole_numbers_stand_for_numbers(advice_json: Json) -> None:
    advice_json["exits"][0]["temperature"] = 2
    assert isinstance(Advice.from_json(advice_json).exits[0].temperature, float)


def test_plans_of_older_builds_have_no_stops(advice_json: Json, sample_bundle: Bundle) -> None:
    for plan in advice_json["plans"]:
        del plan["stops"]
    assert Advice.from_json(advice_json) == sample_bundle.advice


def test_stops_survive_json(advice_json: Json) -> None:
    advice_json["plans"][2]["stops"] = [1, 0.25]
    advice = Advice.from_json(advice_json)
    assert advice.plans[2].stops == (1.0, 0.25)
    assert advice.plans[2].key == "c1@0+stops"
    assert Advice.from_json(json.loads(json.dumps(advice.to_json()))) == advice


def test_no_confidence_is_not_a_number(sample_bundle: Bundle) -> None:
    plan = dataclasses.replace(sample_bundle.advice.plans[0], stops=(float("nan"),))
    with pytest.raises(BundleError, match="must be confidences"):
        dataclasses.replace(sample_bundle.advice, plans=(plan,))


STAGES = '{"segment:0": {"p50_s": 0.2, "p95_s": 0.1}}'

DAMAGES: list[tuple[Change, str]] = [
    (lambda d: d.update(version=0), "version 0, this program reads version 1"),
    (lambda d: d.pop("plans"), "plans: is missing"),
    (lambda d: d["exits"][0].update(threshold="high"), r"exits\[0\].threshold: must be a number"),
    (lambda d: d["exits"][0].update(threshold=float("inf")), "threshold: is not a finite"),
    (lambda d: d["exits"][0].update(temperature=0), "temperature: is 0.0, must be above 0"),
    (lambda d: d["exits"][0].update(temperature=10**400), "temperature: is beyond"),
    (lambda d: d["exits"][0].update(boundary=-1), "boundary: is -1"),
    (lambda d: d["exits"][0].update(id="a/b"), r"exits\[0\].id: 'a/b' is not a name"),
    (lambda d: d["exits"][0]["graph"].update(file="/etc/passwd"), "is not a file name"),
    (lambda d: d["plans"][0].update(level=-1), r"plans\[0\].level: is -1"),
    (
        lambda d: d["plans"][-1]["exits"][0].update(exit="e2"),
        "unknown exit 'e2'",
    ),
    (lambda d: d["plans"][0].update(stops=[0.9, -0.1]), r"plans\[0\].stops: is \[0.9, -0.1\]"),
    (lambda d: d["plans"][0].update(stops=[float("nan")]), r"stops\[0\]: is not a finite number"),
    (lambda d: d["plans"][0].update(stops=["high"]), r"stops\[0\]: must be a number, is text"),
    (lambda d: d["plans"][0].update(stops=0.9), r"plans\[0\].stops: must be a list"),
    (lambda d: d["profiles"][0].update(stages=json.loads(STAGES)), "stages.segment:0: a median"),
    (lambda d: d["profiles"][0].update(reference_s=0), r"profiles\[0\].reference_s: is 0.0, must"),
    (lambda d: d["sample_table"].update(file="../x"), "sample_table.file"),
    (lambda d: d["golden"].update(sha256=""), "golden.sha256"),
    (lambda d: d.update(contract_sha256="abc"), "contract_sha256: must be 64"),
    (lambda d: d["flops"].update({"segment:0": 1.5}), "flops.segment:0: must be a whole number"),
    (lambda d: d["costs"].update({"segment:0": 1}), "costs.segment:0: must be an object"),
    (lambda d: d.update(sizes={"T": -1}), "sizes.T: is -1, must be at least 0"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGES, ids=[m for _, m in DAMAGES])
def test_damage_is_named_by_its_place(advice_json: Json, change: Change, message: str) -> None:
    change(advice_json)
    with pytest.raises(BundleError, match=message) as error:
        Advice.from_json(advice_json)
    assert str(error.value).startswith("advice.json")


def test_a_profile_need_not_know_the_reference_network(advice_json: Json) -> None:
    del advice_json["profiles"][0]["reference_s"]
    assert Advice.from_json(advice_json).profiles[0].reference_s is None


MISFITS: list[tuple[Change, str]] = [
    (lambda d: d.update(contract_sha256="0" * 64), "was made for the contract 000000000000"),
    (lambda d: d["exits"][0].update(boundary=4), r"exits\[0\].boundary: is 4, must be from 0 to 3"),
    (lambda d: d["plans"][0].update(path="c3"), r"plans\[0\].path: unknown path 'c3'"),
    (lambda d: d["plans"][0].update(level=2), "'input' has 2 levels"),
    (
        lambda d: d["plans"][-1].update(path="input"),
        "'e1' stands at boundary 1, the path leaves at 0",
    ),
]


@pytest.mark.parametrize(("change", "message"), MISFITS, ids=[m for _, m in MISFITS])
def test_advice_of_another_contract_is_refused(
    sample_bundle: Bundle, advice_json: Json, change: Change, message: str
) -> None:
    change(advice_json)
    with pytest.raises(BundleError, match=message):
        dataclasses.replace(sample_bundle, advice=Advice.from_json(advice_json))
