"""What is said of a bundle."""

from __future__ import annotations

import json

from splitnet.builder.inspection import describe, show, tables
from splitnet.bundle import Bundle


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
