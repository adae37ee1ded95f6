"""What is said of a bundle."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from splitnet.builder.inspection import describe, show, tables
from splitnet.bundle import Bundle
from splitnet.values import SKIP


def test_everything_is_described(sample_bundle: Bundle) -> None:
    content = json.loads(json.dumps(describe(sample_bundle)))
    contract, table = sample_bundle.contract, sample_bundle.table
    assert content["contract"] == contract.sha256
    assert [b["cut"] for b in content["boundaries"]] == ["input", "c1", "c2", "output"]
    assert content["boundaries"][1]["tensors"][0]["bytes"] == 8192
    paths = {path["path"]: path for path in content["paths"]}
    assert paths["bottleneck"]["kind"] == "learned" and paths["c2"]["boundary"] == 2
    assert paths["c1"]["hash"] == contract.path_hash("c1").hex()
    assert paths["c1"]["levels"][1]["accuracy"] == table.mean_score("c1", 1)
    assert content["exits"][0]["share"] == table.exit_share("e1", 0.8)
    plans = {plan["plan"]: plan for plan in content["plans"]}
    assert plans["c1@1+exits"]["bytes"] < plans["c1@1"]["bytes"]
    assert content["profiles"][0]["stages"]["segment:0"] == {"p50_ms": 4.0, "p95_ms": 5.0}


def test_tables_for_people(sample_bundle: Bundle) -> None:
    shown: dict[str, list[tuple[object, ...]]] = {}

    def keep(title: str, header: object, rows: list[tuple[object, ...]]) -> None:
        shown[title] = rows

    show(tables(describe(sample_bundle)), keep)
    assert len(shown["paths"]) == 8 and len(shown["plans"]) == 11
    assert ("c1", 1, "float32 Nx8x16x16", 8192) in shown["sample: boundaries"]
    assert any(title.startswith("profile: sample-device") for title in shown)


def test_a_table_without_rows_is_not_shown(sample_bundle: Bundle) -> None:
    content = describe(sample_bundle)
    content["exits"] = []
    titles: list[str] = []
    show(tables(content), lambda title, header, rows: titles.append(title))
    assert not any(title.startswith("exits") for title in titles)


def test_promises_of_exits_and_prefilter(skipping_bundle: Bundle) -> None:
    certified = {"rule": "learn-then-test", "risk": 0.02, "confidence": 0.9, "samples": 400}
    recall = {"recall": 0.99, "confidence": 0.95, "samples": 299, "missed": 0}
    roles = {**skipping_bundle.advice.roles, "exits": certified, "prefilter": recall}
    bundle = replace(skipping_bundle, advice=replace(skipping_bundle.advice, roles=roles))
    content = json.loads(json.dumps(describe(bundle)))
    table = bundle.table
    told, test = content["promise"], content["promise"]["test"]
    assert (told["risk"], told["samples"], test["samples"]) == (0.02, 400, 200)
    assert test["share"] == table.exit_share("e1", 0.8)
    # 12 ms for three segments; with the exit 5 ms for who leaves there and 13 ms for the others.
    assert test["speed_up"] == pytest.approx(12 / (13 - 8 * test["share"]))
    skip = content["prefilter"]
    assert skip["interest"] == [3, 5] and skip["test"]["share"] == 0.5
    wanted = table.exits[SKIP].score == 0
    assert skip["test"]["samples"] == wanted.sum()
    assert skip["test"]["recall"] == 1 - table.exit_passed(SKIP, 0.7)[wanted].mean()
    (rows,) = [rows for title, _, rows in tables(content) if title == "promises"]
    assert rows[0][:4] == ("prefilter for 3, 5", "recall at least 99.00%", "95%", "299 of interest")
    assert rows[1][:4] == ("exits", "loss at most 2.00%", "90%", 400)


def test_exits_without_a_promise_say_so(sample_bundle: Bundle) -> None:
    content = describe(sample_bundle)
    assert content["prefilter"] is None and "risk" not in content["promise"]
    (rows,) = [rows for title, _, rows in tables(content) if title == "promises"]
    assert rows[0][1] == "none"
