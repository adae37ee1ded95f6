"""The contract: paths, graphs, JSON form, and every kind of damage."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitnet.bundle import Bundle, Contract
from splitnet.errors import BundleError, UnknownNameError

Json = dict[str, Any]
Change = Callable[[Json], object]


def test_json_round_trip(sample_bundle: Bundle, contract_json: Json) -> None:
    contract = Contract.from_json(contract_json)
    assert contract.to_json() == contract_json
    assert contract == Contract.from_json(json.loads(json.dumps(contract.to_json())))
    assert contract.sha256 == sample_bundle.contract.sha256


def test_paths_are_found_by_name(sample_bundle: Bundle) -> None:
    contract = sample_bundle.contract
    assert contract.path("c1").hops[0].boundary == 1
    with pytest.raises(UnknownNameError, match=r"'botleneck' .did you mean 'bottleneck'.*c1, c2"):
        contract.path("botleneck")


def test_inputs_and_outputs_are_the_outer_boundaries(sample_bundle: Bundle) -> None:
    assert sample_bundle.contract.inputs[0].name == "x"
    assert sample_bundle.contract.outputs[0].name == "y"


def test_graphs_are_those_of_both_sides_in_order(sample_bundle: Bundle) -> None:
    contract = sample_bundle.contract
    segments = ["segment-0.onnx", "segment-1.onnx", "segment-2.onnx"]
    assert [graph.file for graph in contract.graphs("c2")] == segments
    assert [graph.file for graph in contract.graphs("bottleneck")] == [
        segments[0],
        "encoder-bottleneck.onnx",
        "decoder-bottleneck.onnx",
        *segments[1:],
    ]


def test_a_decoder_may_end_further_on_or_back(contract_json: Json) -> None:
    hop = contract_json["paths"][3]["hops"][0]
    hop["entry"] = 2
    files = [graph.file for graph in Contract.from_json(contract_json).graphs("bottleneck")]
    assert "segment-1.onnx" not in files
    hop["entry"] = 0
    files = [graph.file for graph in Contract.from_json(contract_json).graphs("bottleneck")]
    assert files.count("segment-0.onnx") == 1
    assert len(files) == 5
    hop["entry"] = 3
    files = [graph.file for graph in Contract.from_json(contract_json).graphs("bottleneck")]
    assert files[-1] == "decoder-bottleneck.onnx"


def test_a_graph_names_its_files(sample_bundle: Bundle) -> None:
    graph = sample_bundle.contract.whole
    shard = graph.shards[0]
    assert graph.files == {"whole.onnx": graph.sha256, f"shards/{shard}": shard}


def tensor(document: Json) -> Json:
    found: Json = document["boundaries"][1]["tensors"][0]
    return found


def hop(document: Json, path: int) -> Json:
    found: Json = document["paths"][path]["hops"][0]
    return found


DAMAGES: list[tuple[Change, str]] = [
    (lambda d: d.update(version=2), "version 2, this program reads version 1"),
    (lambda d: d.update(version=True), "version True"),
    (lambda d: d.pop("version"), "version None"),
    (lambda d: d.pop("name"), "contract.json: name: is missing"),
    (lambda d: d.update(nmae="x"), r"nmae: unknown key .did you mean 'name'"),
    (lambda d: d.update(name=3), "name: must be text, is a whole number"),
    (lambda d: d.update(name=None), "name: must be text, is null"),
    (lambda d: d.update(paths={}), "paths: must be a list, is an object"),
    (lambda d: d.update(whole=[]), "whole: must be an object"),
    (lambda d: hop(d, 0).update(boundary=True), r"paths\[0\].hops\[0\].boundary: must be a whole"),
    (lambda d: hop(d, 0).update(boundary=0.0), "boundary: must be a whole number"),
    (lambda d: hop(d, 0).update(boundary=2**63), "boundary: is beyond"),
    (lambda d: hop(d, 1).update(boundary=3), r"hops\[0\].boundary: is 3, must be from 0 to 2"),
    (lambda d: hop(d, 3).update(entry=-1), "entry: is -1"),
    (lambda d: hop(d, 3).update(entry=4), "entry: is 4, must be from 0 to 3"),
    (lambda d: hop(d, 3).update(entry=3, decoder=None), "entry: is 3, must be from 0 to 2"),
    (lambda d: hop(d, 1).update(entry=2), "entry: is 2, on an exact path it is 1"),
    (lambda d: hop(d, 1).update(encoder=d["whole"]), "neither encoder nor decoder"),
    (lambda d: hop(d, 1).update(tensors=hop(d, 0)["tensors"]), "not those of boundary 1"),
    (lambda d: hop(d, 3).update(encoder=None, decoder=None), "needs an encoder or a decoder"),
    (lambda d: hop(d, 3).update(tensors=[]), "at least one tensor"),
    (lambda d: d["paths"][0].update(kind="skip"), "kind: must be one of exact, learned"),
    (lambda d: d["paths"][0].update(hops=[]), "has no hop"),
    (lambda d: d["paths"][0].update(levels=[]), "has no level"),
    (lambda d: d["paths"][1].update(id="c2"), r"paths\[2\].id: 'c2' stands there twice"),
    (lambda d: d["paths"][1].update(id="device"), "reserved"),
    (lambda d: d["paths"][1].update(id="a@1"), r"paths\[1\].id: 'a@1' is not a name"),
    (lambda d: d["paths"][1].update(id=""), "is not a name"),
    (lambda d: d["paths"][1]["levels"][0].update(codecs=[]), "0 entries for 1 hops"),
    (lambda d: d["paths"][1]["levels"][0].update(codecs=[[]]), "0 codec configurations for 1"),
    (lambda d: d["paths"][1]["levels"][0].update(codecs=[[{}]]), r"codecs\[0\]\[0\].id"),
    (lambda d: d["paths"][1]["levels"][0].update(codecs=[["store"]]), "must be an object"),
    (lambda d: d.update(reply=[]), "reply: 0 codec configurations for 1 tensors"),
    (lambda d: d["boundaries"].pop(1), "3 boundaries but 3 segments"),
    (lambda d: d.update(boundaries=d["boundaries"][:1], segments=[]), "at least one"),
    (lambda d: d["boundaries"][0].update(cut="in"), "the first boundary is 'input'"),
    (lambda d: d["boundaries"][1].update(cut="output"), "stands there twice"),
    (lambda d: d["boundaries"][2].update(cut="c1"), "'c1' stands there twice"),
    (lambda d: tensor(d).update(dtype="float64"), r"tensors\[0\].dtype: 'float64' may not cross"),
    (lambda d: tensor(d).update(dims=[]), "dims"),
    (lambda d: tensor(d).update(dims=[1, 8]), "'N' first"),
    (lambda d: tensor(d).update(dims=["N", "N"]), "'N' first"),
    (lambda d: tensor(d).update(dims=["N"] * 9), "1 to 8 dimensions"),
    (lambda d: tensor(d).update(dims=["N", 0]), "at least 1"),
    (lambda d: tensor(d).update(dims=["N", 2**30]), "a sample has more than"),
    (lambda d: tensor(d).update(dims=["N", 1.5]), r"dims\[1\]"),
    (lambda d: tensor(d).update(name=""), "name: is empty"),
    (lambda d: tensor(d).update(role="weights"), "role: must be one of data, state, constant"),
    (lambda d: d["whole"].update(file="../whole.onnx"), "whole.file: '../whole.onnx' is not"),
    (lambda d: d["whole"].update(file="shards/whole.onnx"), "is not a file name"),
    (lambda d: d["whole"].update(file=""), "is not a file name"),
    (lambda d: d["whole"].update(file="a\n"), "is not a file name"),
    (lambda d: d["whole"].update(sha256="0" * 63), "whole.sha256: must be 64"),
    (lambda d: d["whole"].update(shards=["A" * 64]), r"whole.shards\[0\]: must be 64"),
    (lambda d: d["whole"].update(file="segment-0.onnx"), "two different hashes"),
    (lambda d: d.update(preprocess=[{"op": "rotate"}]), r"preprocess\[0\].op: unknown step"),
    (lambda d: d.update(preprocess=[{"op": []}]), "unknown step"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGES, ids=[m for _, m in DAMAGES])
def test_damage_is_named_by_its_place(contract_json: Json, change: Change, message: str) -> None:
    change(contract_json)
    with pytest.raises(BundleError, match=message) as error:
        Contract.from_json(contract_json)
    assert str(error.value).startswith("contract.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [None, [], 3, "contract"])
def test_anything_but_an_object_is_refused(data: object) -> None:
    with pytest.raises(BundleError, match="the whole file: must be an object"):
        Contract.from_json(data)


def test_deep_nesting_is_refused(contract_json: Json) -> None:
    config: Json = {"id": "pipeline"}
    for _ in range(40):
        config = {"id": "pipeline", "codecs": [config]}
    contract_json["reply"] = [config]
    with pytest.raises(BundleError, match="nested deeper"):
        Contract.from_json(contract_json)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield container and key of every value inside `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield value, key
        if isinstance(item, (dict, list)):
            yield from places(item)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    data=st.data(),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.just([]),
        st.just({}),
        st.lists(st.integers(), min_size=1, max_size=3),
    ),
)
def test_any_value_anywhere_is_read_or_refused(
    contract_json: Json, data: st.DataObject, value: object
) -> None:
    document = copy.deepcopy(contract_json)
    container, key = data.draw(st.sampled_from(list(places(document))))
    container[key] = value
    try:
        contract = Contract.from_json(document)
    except BundleError:
        return
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract
