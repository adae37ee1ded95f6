"""A path hash covers what both sides must share, and nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitnet.bundle import Bundle, Contract

Json = dict[str, Any]
Change = Callable[[Json], object]
OTHER = "f" * 64


def hashes(document: Json) -> dict[str, bytes]:
    contract = Contract.from_json(document)
    return {path.id: contract.path_hash(path.id) for path in contract.paths}


def test_a_hash_has_32_bytes_and_paths_differ(sample_bundle: Bundle) -> None:
    found = hashes(sample_bundle.contract.to_json())
    assert all(len(value) == 32 for value in found.values())
    assert len(set(found.values())) == 4


GOLDEN = "2023e443fe9c9ef84e10a3310150dd1852574709a629a460c52ed024440d9623"


def test_the_golden_hash_of_the_sample_bundle(sample_bundle: Bundle) -> None:
    """Another value here parts every edge from every cloud: PATH_HASH_FORM is raised then."""
    assert sample_bundle.contract.path_hash("bottleneck").hex() == GOLDEN


def test_the_hash_is_what_the_specification_says(
    sample_bundle: Bundle, contract_json: Json
) -> None:
    def content(graph: Json) -> list[Any]:
        return [graph["sha256"], graph["shards"]]

    hop = contract_json["paths"][3]["hops"][0]
    substance = {
        "form": 1,
        "preprocess": contract_json["preprocess"],
        "boundaries": [boundary["tensors"] for boundary in contract_json["boundaries"]],
        "segments": [[i, content(s["graph"])] for i, s in enumerate(contract_json["segments"])],
        "hops": [hop | {side: content(hop[side]) for side in ("encoder", "decoder")}],
        "levels": [level["codecs"] for level in contract_json["paths"][3]["levels"]],
        "reply": contract_json["reply"],
    }
    text = json.dumps(substance, sort_keys=True, separators=(",", ":"))
    found = hashlib.sha256(text.encode()).digest()
    assert found == sample_bundle.contract.path_hash("bottleneck")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 4), boundary=st.integers(0, 2), bits=st.integers(1, 8))
def test_a_new_path_leaves_the_old_ones_alone(
    contract_json: Json, position: int, boundary: int, bits: int
) -> None:
    before = hashes(contract_json)
    document = copy.deepcopy(contract_json)
    path = copy.deepcopy(document["paths"][3])
    path["id"] = "bottleneck-2"
    path["hops"][0].update(boundary=boundary, entry=boundary)
    path["hops"][0]["encoder"].update(file="encoder-2.onnx", sha256=OTHER)
    path["levels"].append({"name": "new", "codecs": [[{"id": "affine", "bits": bits}]]})
    document["paths"].insert(position, path)
    after = hashes(document)
    assert {key: after[key] for key in before} == before
    assert after["bottleneck-2"] not in before.values()


NAMES: list[Change] = [
    lambda d: d.update(name="renamed"),
    lambda d: d["paths"][3].update(id="renamed"),
    lambda d: d["paths"][3]["levels"][1].update(name="renamed"),
    lambda d: d["boundaries"][1].update(cut="renamed"),
    lambda d: d["paths"][3]["hops"][0]["encoder"].update(file="renamed.onnx"),
    lambda d: d["whole"].update(file="renamed.onnx", sha256=OTHER),
]


@pytest.mark.parametrize("change", NAMES)
def test_names_for_people_are_not_covered(contract_json: Json, change: Change) -> None:
    before = hashes(contract_json)["bottleneck"]
    sha256 = Contract.from_json(contract_json).sha256
    change(contract_json)
    assert before in hashes(contract_json).values()
    assert Contract.from_json(contract_json).sha256 != sha256


def set_tensor(document: Json, **changes: Any) -> None:
    document["boundaries"][1]["tensors"][0].update(changes)
    document["paths"][1]["hops"][0]["tensors"][0].update(changes)


SUBSTANCE: list[Change] = [
    lambda d: d["preprocess"][0].update(by=127.5),
    lambda d: d["preprocess"].pop(),
    lambda d: d["segments"][0]["graph"].update(sha256=OTHER),
    lambda d: d["segments"][2]["graph"].update(shards=[OTHER]),
    lambda d: d["boundaries"][3]["tensors"][0].update(dims=["N", 11]),
    lambda d: set_tensor(d, dims=["N", 8, 16, 17]),
    lambda d: set_tensor(d, dtype="float16"),
    lambda d: set_tensor(d, name="b1"),
    lambda d: d["paths"][3]["hops"][0]["encoder"].update(sha256=OTHER),
    lambda d: d["paths"][3]["hops"][0]["decoder"].update(shards=[]),
    lambda d: d["paths"][3]["hops"][0].update(boundary=0),
    lambda d: d["paths"][3]["hops"][0].update(entry=0),
    lambda d: d["paths"][3]["hops"][0]["tensors"][0].update(dims=["N", 4, 8, 9]),
    lambda d: d["paths"][3]["levels"].pop(),
    lambda d: d["paths"][3]["levels"][1]["codecs"][0][0]["codecs"][0].update(bits=4),
    lambda d: d["reply"][0].update(id="lz4"),
]


@pytest.mark.parametrize("change", SUBSTANCE)
def test_all_that_both_sides_need_is_covered(contract_json: Json, change: Change) -> None:
    before = hashes(contract_json)["bottleneck"]
    change(contract_json)
    assert hashes(contract_json)["bottleneck"] != before


def test_the_order_of_keys_does_not_matter(contract_json: Json) -> None:
    def backwards(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: backwards(value[key]) for key in reversed(value)}
        return [backwards(item) for item in value] if isinstance(value, list) else value

    turned = Contract.from_json(backwards(contract_json))
    assert turned.sha256 == Contract.from_json(contract_json).sha256
    assert hashes(backwards(contract_json)) == hashes(contract_json)
