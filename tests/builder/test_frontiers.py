"""Cuts of several tensors: closed sets of operators, all of them where the graph is small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from splitnet.builder.cuts import Cut, find_cuts, resolve_cut
from splitnet.builder.flow import Flow, bits
from splitnet.builder.frontiers import MAX_TENSORS, find_frontiers
from splitnet.builder.graph import Graph, Node
from splitnet.builder.shapes import BATCH_EXTENT, Extent, Measured

FORM = Measured("float32", (1, 4), (BATCH_EXTENT, Extent(4)))


def graph_of(reads: list[tuple[int, ...]], op: str = "Softmax") -> Graph:
    """Return a graph whose node i (from 1) reads earlier nodes; 0 is the input, the last one
    the output, and nodes that it does not need are left out."""
    needed = {len(reads)}
    for index in range(len(reads), 0, -1):
        needed |= set(reads[index - 1]) if index in needed else set()
    nodes = tuple(
        Node(op, "", {}, tuple(f"t{r}" for r in reads[i - 1]), (f"t{i}",))
        for i in range(1, len(reads) + 1)
        if i in needed
    )
    measured = {f"t{i}": FORM for i in {0, *needed}}
    ends = (FORM.spec("t0"),), (FORM.spec(f"t{len(reads)}"),)
    return Graph(*ends, nodes, {}, {}, measured, {"": 18})


@st.composite
def dags(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Draw, for each of up to 7 nodes, the earlier nodes that it reads."""
    return [
        tuple(draw(st.sets(st.integers(0, index), min_size=1, max_size=2)))
        for index in range(draw(st.integers(2, 7)))
    ]


@given(dags())
def test_all_closed_sets_of_a_small_graph_are_found(reads: list[tuple[int, ...]]) -> None:
    graph = graph_of(reads)
    flow = Flow(graph)
    wanted = set()
    for before in range(1, (1 << len(graph.nodes)) - 1):
        if flow.before(t for n in bits(before) for t in graph.nodes[n].outputs) == before:
            tensors = flow.crossing(before)
            if 1 < len(tensors) <= MAX_TENSORS:
                wanted.add((before, tensors))
    assert {(f.before, f.tensors) for f in find_frontiers(flow)} == wanted


@given(dags())
def test_a_cut_knows_what_lies_before_it(reads: list[tuple[int, ...]]) -> None:
    graph = graph_of(reads)
    flow = Flow(graph)
    for cut in find_cuts(graph):
        assert flow.before(cut.tensors) == cut.before
        assert flow.crossing(cut.before) == cut.tensors


def joint(graph: Graph) -> list[Cut]:
    """Return the cuts of several tensors."""
    return [cut for cut in find_cuts(graph) if not cut.single]


def test_no_cut_lies_before_what_costs_nothing() -> None:
    # 1 and 2 read the input, 3 computes element by element on both.
    reads: list[tuple[int, ...]] = [(0,), (0,), (1, 2), (3,)]
    assert len(joint(graph_of(reads))) == 3
    graph = graph_of(reads)
    nodes = list(graph.nodes)
    nodes[2] = Node("Add", "", {}, nodes[2].inputs, nodes[2].outputs)
    summed = Graph(graph.inputs, graph.outputs, tuple(nodes), {}, {}, graph.measured, graph.opsets)
    assert [cut.id for cut in joint(summed)] == ["input--softmax:0", "input--softmax:1"]


def test_ids_are_names_of_tensors_and_resolve() -> None:
    cuts = find_cuts(graph_of([(0,), (0,), (1, 2), (3,)]))
    found = [cut.id for cut in cuts if not cut.single]
    assert found == ["input--softmax:0", "input--softmax:1", "softmax:0--softmax:1"]
    assert all(resolve_cut(id_, cuts).id == id_ for id_ in found)


def test_a_long_id_ends_in_a_hash() -> None:
    deep = ".".join(["encoder"] * 20)
    graph = graph_of([(0,), (0,), (1, 2)])
    nodes = tuple(Node(n.op, "", {}, n.inputs, n.outputs, deep) for n in graph.nodes)
    ids = [
        cut.id
        for cut in joint(
            Graph(graph.inputs, graph.outputs, nodes, {}, {}, graph.measured, graph.opsets)
        )
    ]
    assert len(set(ids)) == 3 and all(len(id_) <= 170 for id_ in ids)


def test_wide_graphs_end_in_time() -> None:
    towers = [tuple([0])] * 12
    reads: list[tuple[int, ...]] = [*towers, *((i + 1,) for i in range(12)), tuple(range(13, 25))]
    assert len(find_cuts(graph_of(reads))) <= 500
