"""Canonical topological order of a graph: the same for any order and any names in the file.

Kahn's algorithm, where ties between operators that are ready are broken by a structural hash.
The hash of a node covers its operator, its attributes, the shapes of its weights and the hashes of
its inputs (a forward pass), then the hashes of its consumers (a backward pass). Parallel branches
that are equal but for their weights are told apart by a second hash, over the weights themselves,
so that a retrained model keeps its order wherever the structure alone decides.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Operator(Protocol):
    """What the order looks at: signature, input and output tensors."""

    @property
    def signature(self) -> bytes:
        """Return operator and attributes as bytes that depend on nothing else."""

    @property
    def inputs(self) -> Sequence[str]:
        """Return the names of the tensors read."""

    @property
    def outputs(self) -> Sequence[str]:
        """Return the names of the tensors computed."""


def canonical_order(
    operators: Sequence[Operator],
    leaves: Mapping[str, tuple[bytes, bytes]],
    outputs: Sequence[str],
) -> tuple[int, ...]:
    """Return the indices of `operators` in canonical order.

    Parameters
    ----------
    leaves
        For each tensor that no operator produces: the hash of its form and that of its content.
    outputs
        The tensors that the graph answers with.
    """
    depends = _dependencies(operators)
    order = _kahn(depends, lambda index: (index,))
    structure = _hashes(operators, order, {k: v[0] for k, v in leaves.items()}, outputs)
    content = _hashes(operators, order, {k: v[1] for k, v in leaves.items()}, outputs)
    return _kahn(depends, lambda index: (structure[index], content[index], index))


def digest(*parts: bytes | memoryview) -> bytes:
    """Return one hash over `parts`, keeping their limits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.digest()


def port_mark(end: str, number: int) -> bytes:
    """Return what stands for an input or output of the graph in hashes, whatever its name."""
    return f"{end}{number or ''}".encode()


def _dependencies(operators: Sequence[Operator]) -> list[set[int]]:
    producer = {name: i for i, operator in enumerate(operators) for name in operator.outputs}
    return [{producer[name] for name in o.inputs if name in producer} for o in operators]


def _kahn(
    depends: Sequence[set[int]], key: Callable[[int], tuple[bytes | int, ...]]
) -> tuple[int, ...]:
    waiting = [len(d) for d in depends]
    followers = defaultdict(list)
    for index, needed in enumerate(depends):
        for other in needed:
            followers[other].append(index)
    ready = [(key(i), i) for i, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        _, index = heapq.heappop(ready)
        order.append(index)
        for follower in followers[index]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, (key(follower), follower))
    return tuple(order)


def _hashes(
    operators: Sequence[Operator],
    order: Sequence[int],
    leaves: Mapping[str, bytes],
    outputs: Sequence[str],
) -> list[bytes]:
    known = dict(leaves)
    forward = [b""] * len(operators)
    for index in order:
        operator = operators[index]
        forward[index] = digest(operator.signature, *(known.get(n, b"") for n in operator.inputs))
        for place, name in enumerate(operator.outputs):
            known[name] = digest(forward[index], place.to_bytes(4, "little"))
    consumers: defaultdict[str, list[bytes]] = defaultdict(list)
    for number, name in enumerate(outputs):
        consumers[name].append(port_mark("output", number))
    backward = [b""] * len(operators)
    for index in reversed(order):
        operator = operators[index]
        uses = (digest(*sorted(consumers[name])) for name in operator.outputs)
        backward[index] = digest(forward[index], *uses)
        for place, name in enumerate(operator.inputs):
            consumers[name].append(digest(backward[index], place.to_bytes(4, "little")))
    return backward
