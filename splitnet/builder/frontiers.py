"""Cuts that several tensors cross: inside residual blocks, between parallel branches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from splitnet.builder.flow import Flow
from splitnet.builder.operators import MOVES, is_elementwise

MAX_TENSORS = 4
"""Most tensors that cross a cut: more cost messages and time, and are rarely small."""

EXPLORED_TENSORS = 8
"""Most tensors that cross on the way from one cut to another."""

BEAM = 64
"""Sets of the same number of operators that are followed further, those with the fewest bytes."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """A closed set of operators, and the one to four tensors that leave it."""

    before: int
    tensors: tuple[str, ...]


def find_frontiers(flow: Flow) -> Iterator[Frontier]:
    """Yield the cuts with two to four tensors that are worth a look, in the order of their size.

    A breadth-first walk over the closed sets of operators. Where an operator can run that only
    moves data or computes element by element, and does not make the crossing tensors larger, it
    runs at once: a cut in front of it costs as much to send and leaves less done. So no cut lies
    between a convolution and its activation, or in front of a sum of what crosses. Wide graphs
    have more sets than can be looked at; those with the fewest bytes are.
    """
    start = _absorbed(flow, 0, tuple(spec.name for spec in flow.graph.inputs))
    waiting: defaultdict[int, dict[int, tuple[str, ...]]] = defaultdict(dict)
    waiting[start.before.bit_count()][start.before] = start.tensors
    full = (1 << len(flow.graph.nodes)) - 1
    while waiting:
        level = waiting.pop(min(waiting))
        ordered = sorted(level.items(), key=lambda item: (flow.bytes_of(item[1]), item[0]))
        for before, live in ordered[:BEAM]:
            if 1 < len(live) <= MAX_TENSORS and before not in (0, full):
                if all(name in flow.graph.measured for name in live):
                    yield Frontier(before, live)
            for node in flow.ready(live, before):
                live_after = flow.stepped(live, before, node)
                found = _absorbed(flow, before | 1 << node, live_after)
                if len(found.tensors) <= EXPLORED_TENSORS:
                    waiting[found.before.bit_count()][found.before] = found.tensors


def _absorbed(flow: Flow, before: int, live: tuple[str, ...]) -> Frontier:
    """Return the set with all operators that cost nothing there and do not make it larger."""
    best = Frontier(before, live)
    limit = flow.bytes_of(live)
    progress = True
    while progress:
        progress = False
        for node in flow.ready(live, before):
            if not _is_free(flow, node):
                continue
            live, before = flow.stepped(live, before, node), before | 1 << node
            if len(live) > EXPLORED_TENSORS:
                return best
            progress = True
            if flow.bytes_of(live) <= limit:
                best, limit = Frontier(before, live), flow.bytes_of(live)
            break
    return best


def _is_free(flow: Flow, node: int) -> bool:
    op = flow.graph.nodes[node].op
    return op in MOVES or is_elementwise(op)
