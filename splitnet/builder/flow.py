"""The flow of tensors through a graph: which operators lie before a cut, and what crosses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from splitnet.builder.graph import Graph

INPUT = -1
"""Producer of the inputs, in place of the number of an operator."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Producers and consumers of the tensors that are computed from the inputs.

    A set of operators is an integer with one bit each, in canonical order. One is *closed* if it
    holds all that its operators need; a cut lies between a closed set and the rest.

    Attributes
    ----------
    graph
        Where they come from.
    producer
        Number of the operator that computes each tensor.
    consumers
        The operators that read each tensor.
    reads
        The tensors that each operator reads.
    answers
        The outputs of the graph.
    """

    graph: Graph
    producer: dict[str, int] = field(init=False)
    consumers: dict[str, int] = field(init=False)
    reads: tuple[tuple[str, ...], ...] = field(init=False)
    answers: frozenset[str] = field(init=False)
    _rank: dict[str, int] = field(init=False)
    _bytes: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.graph
        producer = dict.fromkeys((spec.name for spec in graph.inputs), INPUT)
        producer.update((t, i) for i, n in enumerate(graph.nodes) for t in n.outputs if t)
        reads = tuple(
            tuple(dict.fromkeys(t for t in node.inputs if t in producer)) for node in graph.nodes
        )
        consumers = dict.fromkeys(producer, 0)
        for index, names in enumerate(reads):
            for name in names:
                consumers[name] |= 1 << index
        sizes = {
            name: prod(form.shape) * np.dtype(form.dtype).itemsize
            for name in producer
            if (form := graph.measured.get(name)) is not None
        }
        values = {
            "producer": producer,
            "consumers": consumers,
            "reads": reads,
            "answers": frozenset(spec.name for spec in graph.outputs),
            "_rank": {name: rank for rank, name in enumerate(producer)},
            "_bytes": sizes,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def crossing(self, before: int) -> tuple[str, ...]:
        """Return the tensors that leave the closed set `before`, in canonical order."""
        found = (
            name
            for name, producer in self.producer.items()
            if (producer == INPUT or before >> producer & 1) and self._alive(name, before)
        )
        return tuple(found)

    def stepped(self, live: Sequence[str], before: int, node: int) -> tuple[str, ...]:
        """Return what crosses after `node` too, from what crosses `before` it."""
        after = before | 1 << node
        made = (name for name in self.graph.nodes[node].outputs if name)
        kept = {name for name in (*live, *made) if self._alive(name, after)}
        return tuple(sorted(kept, key=self._rank.__getitem__))

    def ready(self, live: Iterable[str], before: int) -> Iterator[int]:
        """Yield the operators that can run next, in canonical order."""
        candidates = 0
        for name in live:
            candidates |= self.consumers[name]
        for node in bits(candidates & ~before):
            if all(self._made(name, before) for name in self.reads[node]):
                yield node

    def before(self, tensors: Iterable[str]) -> int:
        """Return the closed set of all operators that `tensors` need."""
        found, waiting = 0, [self.producer[name] for name in tensors]
        while waiting:
            node = waiting.pop()
            if node != INPUT and not found >> node & 1:
                found |= 1 << node
                waiting.extend(self.producer[name] for name in self.reads[node])
        return found

    def bytes_of(self, tensors: Iterable[str]) -> int:
        """Return the size of one sample of `tensors`; one without a known shape counts nothing."""
        return sum(self._bytes.get(name, 0) for name in tensors)

    def _made(self, name: str, before: int) -> bool:
        producer = self.producer[name]
        return producer == INPUT or bool(before >> producer & 1)

    def _alive(self, name: str, before: int) -> bool:
        return name in self.answers or bool(self.consumers[name] & ~before)


def bits(nodes: int) -> Iterator[int]:
    """Yield the numbers of the operators in a set, ascending."""
    while nodes:
        low = nodes & -nodes
        yield low.bit_length() - 1
        nodes ^= low
