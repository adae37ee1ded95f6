"""The postprocess graph in a contract: accepted, hashed and refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from splitnet.bundle import Bundle, Contract
from splitnet.bundle.postprocessing import check_postprocess_step
from splitnet.errors import BundleError

Json = dict[str, Any]
NMS: Json = {"op": "nms", "score": 0.3, "iou": 0.45, "max": 10, "boxes": "yolox"}


@pytest.fixture
def with_top(sample_bundle: Bundle) -> Json:
    content = copy.deepcopy(sample_bundle.contract.to_json())
    content["postprocess"] = {
        "step": {"op": "top-k", "k": 2},
        "graph": {"file": "postprocess.onnx", "sha256": "ab" * 32, "shards": []},
        "tensors": [
            {"name": "labels", "dtype": "int32", "dims": ["N", 2], "role": "data"},
            {"name": "probabilities", "dtype": "float32", "dims": ["N", 2], "role": "data"},
        ],
    }
    content["reply"] = [{"id": "store"}, {"id": "store"}]
    return content


def test_a_contract_with_a_postprocess_graph(with_top: Json, sample_bundle: Bundle) -> None:
    contract = Contract.from_json(with_top)
    assert contract.to_json() == with_top
    assert [spec.name for spec in contract.answers] == ["labels", "probabilities"]
    assert contract.outputs == sample_bundle.contract.outputs
    assert contract.graphs("c2")[-1].file == "postprocess.onnx"
    assert contract.path_hash("c2") != sample_bundle.contract.path_hash("c2")


def test_the_path_hash_covers_the_graph_and_not_its_name(with_top: Json) -> None:
    before = Contract.from_json(with_top).path_hash("c2")
    with_top["postprocess"]["graph"]["file"] = "other.onnx"
    assert Contract.from_json(with_top).path_hash("c2") == before
    with_top["postprocess"]["graph"]["sha256"] = "cd" * 32
    assert Contract.from_json(with_top).path_hash("c2") != before


def test_without_one_nothing_stands_there(sample_bundle: Bundle) -> None:
    assert "postprocess" not in sample_bundle.contract.to_json()
    assert sample_bundle.contract.answers == sample_bundle.contract.outputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["reply"].pop(), "reply: 1 codec configurations for 2 tensors"),
        (lambda c: c["postprocess"]["tensors"].reverse(), "top-k gives labels, probabilities"),
        (lambda c: c["postprocess"]["step"].pop("k"), r"postprocess\.step\.k: is missing"),
        (lambda c: c["postprocess"]["graph"].update(file="../x"), r"postprocess\.graph\.file"),
        (lambda c: c["postprocess"]["graph"].update(file="whole.onnx"), "two different hashes"),
    ],
)
def test_damage_is_named(with_top: Json, change: Callable[[Json], Any], message: str) -> None:
    change(with_top)
    with pytest.raises(BundleError, match=message):
        Contract.from_json(with_top)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"op": "sofmax"}, "unknown postprocess 'sofmax'.*did you mean 'softmax'"),
        ({"op": 3}, "unknown postprocess 3"),
        ({"op": "softmax", "k": 1}, r"where\.k: unknown key"),
        ({"op": "top-k", "k": 0}, "from 1 to 10000, is 0"),
        ({"op": "top-k", "k": True}, "is True"),
        ({**NMS, "iou": 1.5}, r"where\.iou: must be a number from 0 to 1"),
        ({**NMS, "boxes": "corners"}, "one of yolox, centre"),
    ],
)
def test_a_step_that_is_none(step: Json, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        check_postprocess_step(step, "where")


@pytest.mark.parametrize("step", [{"op": "softmax"}, {"op": "top-k", "k": 3}, NMS])
def test_every_step_of_the_list_is_known(step: Json) -> None:
    check_postprocess_step(step, "where")
