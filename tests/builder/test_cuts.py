"""Cuts: which there are, how they are called, and that the names last."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.builder.cuts import Cut, find_cuts, resolve_cut
from splitnet.builder.graph import Graph, Node
from splitnet.builder.graph_reader import read_graph
from splitnet.builder.model import SourceModel
from splitnet.builder.shapes import BATCH_EXTENT, Extent, Measured
from splitnet.errors import PartitionError, UnknownNameError
from splitnet.values import TensorSpec

LoadNetwork = Callable[[str], SourceModel]

RESIDUAL = [
    ("stem.1:conv:0", "it lies between Conv and its activation"),
    ("stem.2:relu:0", ""),
    ("add:0", "it lies between Add and its activation"),
    ("relu:0", ""),
    ("down.0:conv:0", "it lies between Conv and its activation"),
    ("down.1:mul:1", ""),
    ("reshape:0", ""),
]


def test_cuts_of_a_residual_network(network: LoadNetwork) -> None:
    cuts = find_cuts(network("residual").graph)
    assert [(cut.id, cut.barred) for cut in cuts if cut.single] == RESIDUAL
    relu = resolve_cut("stem", cuts)
    assert (relu.specs[0].dims, relu.specs[0].dtype, relu.bytes) == (
        ("N", 8, 16, 16),
        "float32",
        8192,
    )
    total = relu.flops_before + relu.flops_after
    assert all(cut.flops_before + cut.flops_after == total for cut in cuts)
    assert relu.flops_before == 2 * (8 * 16 * 16) * (3 * 3 * 3) + 8 * 16 * 16


def test_towers_can_only_be_cut_where_they_meet(network: LoadNetwork) -> None:
    cuts = find_cuts(network("branches").graph)
    assert [cut.id for cut in cuts if cut.single] == ["concat:0", "join:conv:0"]


def test_calls_of_a_shared_module_are_counted(network: LoadNetwork) -> None:
    cuts = find_cuts(network("shared").graph)
    assert [cut.id for cut in cuts if cut.single and cut.id.startswith("again")] == [
        f"again:conv:{call}" for call in range(3)
    ]
    assert resolve_cut("tanh:1", cuts).specs[0].dims == ("N", 16, 8, 8)


def test_the_batch_size_is_no_payload(network: LoadNetwork) -> None:
    cuts = find_cuts(network("sizes").graph)
    assert [cut.id for cut in cuts if cut.single][:5] == [
        "patch:conv:0",
        "reshape:0",
        "transpose:0",
        "concat:0",
        "add:0",
    ]


TIME_FIRST = """
<ir_version: 8, opset_import: ["" : 13]>
time_first (float[N,5,3] x) => (float[N,5,3] y)
{
  late = Transpose <perm = [1, 0, 2]> (x)
  same = Softmax <axis = 2> (late)
  y = Transpose <perm = [1, 0, 2]> (same)
}
"""


def test_a_tensor_without_rows_for_samples_is_no_boundary() -> None:
    sample = np.ones((1, 5, 3), np.float32)
    cuts = find_cuts(read_graph(onnx.parser.parse_model(TIME_FIRST), [sample]))
    assert [cut.specs[0].dims for cut in cuts if cut.single] == [(5, "N", 3)] * 2
    with pytest.raises(PartitionError, match=r"its shape is .* not one row a sample"):
        resolve_cut("softmax:0", cuts)


def test_module_paths_name_the_last_cut_inside(network: LoadNetwork) -> None:
    cuts = find_cuts(network("residual").graph)
    assert resolve_cut("stem", cuts).id == "stem.2:relu:0"
    assert resolve_cut("down", cuts).id == resolve_cut("down.1", cuts).id == "down.1:mul:1"
    assert resolve_cut("relu:0", cuts).id == "relu:0"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stem.1", r"'stem.1' \(stem.1:conv:0\): .*activation; cut at 'stem.2:relu:0' instead"),
    ],
)
def test_barred_names(network: LoadNetwork, name: str, message: str) -> None:
    with pytest.raises(PartitionError, match=message):
        resolve_cut(name, find_cuts(network("residual").graph))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sten", "did you mean 'stem'"),
        ("relu:1", "did you mean 'relu:0'"),
        ("", "no cut ''"),
        ("ste", "no cut 'ste'.*; known: stem.2:relu:0, relu:0, down.1:mul:1, resha"),
    ],
)
def test_unknown_names(network: LoadNetwork, name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        resolve_cut(name, find_cuts(network("residual").graph))


@pytest.mark.parametrize(("count", "end"), [(0, "none"), (12, "c11"), (13, "c11, ...")])
def test_an_unknown_name_lists_a_line_of_cuts(count: int, end: str) -> None:
    spec = TensorSpec("t", "float32", ("N", 4))
    cuts = [Cut(f"c{number}", ("t",), (spec,), 16, 1, 1) for number in range(count)]
    with pytest.raises(UnknownNameError) as caught:
        resolve_cut("nowhere", cuts)
    assert str(caught.value).endswith(end)


def test_ids_survive_an_export_in_another_process(network: LoadNetwork) -> None:
    script = f"""
import json, numpy
from splitnet.builder.cuts import find_cuts
from splitnet.builder.graph_reader import read_graph
from splitnet.builder.model import load_model
example = numpy.ones((1, 3, 16, 16), "float32")
example[..., 0] = 2
model = load_model("{Path(__file__).with_name("networks.py")}:residual", [example])
print(json.dumps([cut.id for cut in find_cuts(model.graph) if cut.single]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(done.stdout) == [name for name, _ in RESIDUAL]


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Draw, for each of up to 10 nodes, the earlier nodes that it reads (0 is the input)."""
    count = draw(st.integers(2, 10))
    return [
        tuple(draw(st.sets(st.integers(0, index), min_size=1, max_size=2)))
        for index in range(count)
    ]


@given(chains())
def test_cuts_are_the_tensors_that_every_path_goes_through(reads: list[tuple[int, ...]]) -> None:
    last = len(reads)
    needed = {last}
    for index in range(last, 0, -1):
        needed |= set(reads[index - 1]) if index in needed else set()
    if 0 not in needed:
        return
    nodes = tuple(
        Node("Softmax", "", {}, tuple(f"t{r}" for r in reads[i - 1]), (f"t{i}",))
        for i in range(1, last + 1)
        if i in needed
    )
    form = Measured("float32", (1, 4), (BATCH_EXTENT, Extent(4)))
    measured = {f"t{i}": form for i in needed}
    graph = Graph((form.spec("t0"),), (form.spec(f"t{last}"),), nodes, {}, {}, measured, {"": 18})

    def connected(without: int) -> bool:
        reached = {0}
        for i in range(1, last + 1):
            if i != without and i in needed and reached & set(reads[i - 1]):
                reached.add(i)
        return last in reached

    expected = [f"t{i}" for i in range(1, last) if i in needed and not connected(i)]
    assert [cut.tensors[0] for cut in find_cuts(graph) if cut.single] == expected
