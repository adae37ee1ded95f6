"""The canonical order depends on the structure of a graph and on nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from splitnet.builder.ordering import canonical_order, digest


@dataclass(frozen=True)
class Op:
    """An operator of a made-up graph."""

    signature: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


LEAVES = {"x": (b"input", b""), "w1": (b"8", b"one"), "w2": (b"8", b"two")}


@st.composite
def graphs(draw: st.DrawFn) -> list[Op]:
    """Draw a graph of up to 12 operators, each reading one or two earlier tensors or weights."""
    ops: list[Op] = []
    for index in range(draw(st.integers(1, 12))):
        known = ["x", "w1", "w2", *(op.outputs[0] for op in ops)]
        inputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=2))
        kind = draw(st.sampled_from([b"conv", b"relu"]))
        ops.append(Op(kind, tuple(inputs), (f"t{index}",)))
    return ops


def describe(ops: list[Op], order: tuple[int, ...]) -> list[bytes]:
    """Return what each operator in `order` computes, without names."""
    known = {name: digest(*form) for name, form in LEAVES.items()}
    for op in sorted(ops, key=lambda op: int(op.outputs[0].strip("tz"))):
        known[op.outputs[0]] = digest(op.signature, *(known[name] for name in op.inputs))
    return [known[ops[index].outputs[0]] for index in order]


@given(graphs(), st.integers(0, 1000))
def test_order_ignores_file_order_and_names(ops: list[Op], seed: int) -> None:
    last = ops[-1].outputs[0]
    expected = describe(ops, canonical_order(ops, LEAVES, [last]))

    def renamed(name: str) -> str:
        return name.replace("t", "z")

    shuffled = [
        Op(op.signature, tuple(map(renamed, op.inputs)), tuple(map(renamed, op.outputs)))
        for op in random.Random(seed).sample(ops, len(ops))
    ]
    assert describe(shuffled, canonical_order(shuffled, LEAVES, [renamed(last)])) == expected


@given(graphs())
def test_order_is_topological(ops: list[Op]) -> None:
    known = set(LEAVES)
    order = canonical_order(ops, LEAVES, ops[-1].outputs)
    for index in order:
        assert known.issuperset(ops[index].inputs)
        known.update(ops[index].outputs)
    assert sorted(order) == list(range(len(ops)))


def test_equal_branches_are_told_apart_by_their_weights() -> None:
    left, right = Op(b"conv", ("x", "w1"), ("t0",)), Op(b"conv", ("x", "w2"), ("t1",))
    join = Op(b"add", ("t0", "t1"), ("t2",))
    first = canonical_order([left, right, join], LEAVES, ["t2"])
    second = canonical_order([right, left, join], LEAVES, ["t2"])
    assert [[left, right][i].inputs[1] for i in first[:2]] == [
        [right, left][i].inputs[1] for i in second[:2]
    ]
