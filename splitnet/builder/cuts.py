"""Single-tensor cuts of a graph, and the names that users give to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod

import numpy as np

from splitnet.builder.graph import Graph, Node
from splitnet.builder.operators import ACTIVATIONS, is_elementwise
from splitnet.config import nearest
from splitnet.errors import PartitionError, UnknownNameError
from splitnet.values import DTYPE_BYTES, TensorSpec

NAMED_CUTS = 12
"""Cuts that an error message lists, so that it stays a line."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A single tensor through which everything flows.

    Attributes
    ----------
    id
        Stable name: ``<module path>:<operator>:<ordinal>`` or ``<operator>:<ordinal>``.
    tensor
        Name of the tensor in the graph that was searched.
    spec
        Its form; the first dimension is the batch.
    bytes
        Size of one sample, uncompressed.
    flops_before, flops_after
        Work of one sample on both sides (2 * multiply-accumulates).
    module
        Path of the torch module that produces it; empty for the root and for ONNX files.
    barred
        Why no boundary may be here; empty if one may.
    """

    id: str
    tensor: str
    spec: TensorSpec
    bytes: int
    flops_before: int
    flops_after: int
    module: str = ""
    barred: str = ""


def find_cuts(graph: Graph) -> tuple[Cut, ...]:
    """Return every interior single-tensor cut in the order of the computation.

    Wherever the live set (tensors computed and still needed) is a single tensor, it is a cut. Every
    path from input to output goes through such a tensor, so neither the set of cuts nor their ids
    depend on how parallel branches are ordered.
    """
    flops = list(accumulate(map(graph.flops, graph.nodes), initial=0))
    ids = _ids(graph.nodes)
    found = []
    for place, tensor in _single_tensors(graph):
        form = graph.measured[tensor]
        cut = Cut(
            id=ids[place],
            tensor=tensor,
            spec=form.spec(tensor),
            bytes=prod(form.shape) * np.dtype(form.dtype).itemsize,
            flops_before=flops[place + 1],
            flops_after=flops[-1] - flops[place + 1],
            module=graph.nodes[place].module,
        )
        if not form.batched:
            cut = replace(cut, barred=f"its shape is {list(cut.spec.dims)}, not one row a sample")
        elif form.dtype not in DTYPE_BYTES:
            cut = replace(cut, barred=f"{form.dtype} tensors may not cross a cut")
        found.append((place, cut))
    return _bar_fused(found, graph)


def resolve_cut(name: str, cuts: Sequence[Cut]) -> Cut:
    """Return the cut with this id, or the last one produced inside the module of this path.

    Raises
    ------
    UnknownNameError
        No such cut (with the nearest name and those that may be boundaries).
    PartitionError
        The cut may not be a boundary.
    """
    inside = [c for c in cuts if name and (c.id == name or f"{c.module}.".startswith(f"{name}."))]
    if not inside:
        modules = {m for c in cuts for m in accumulate(c.module.split("."), "{}.{}".format)}
        hint = nearest(name, [*(c.id for c in cuts), *filter(None, modules)])
        usable = [c.id for c in cuts if not c.barred]
        named = ", ".join(usable[:NAMED_CUTS]) + (", ..." if len(usable) > NAMED_CUTS else "")
        raise UnknownNameError(f"no single-tensor cut {name!r}{hint}; known: {named or 'none'}")
    cut = inside[-1]
    if cut.barred:
        later = next((c.id for c in cuts[cuts.index(cut) :] if not c.barred), None)
        hint = f"; cut at {later!r} instead" if later else ""
        raise PartitionError(f"no boundary may be at {name!r} ({cut.id}): {cut.barred}{hint}")
    return cut


def _ids(nodes: Sequence[Node]) -> list[str]:
    """Return ``module:operator:ordinal`` of each node, counting within module and operator."""
    seen: Counter[str] = Counter()
    ids = []
    for node in nodes:
        kind = ":".join(filter(None, (node.module, node.op.lower())))
        ids.append(f"{kind}:{seen[kind]}")
        seen[kind] += 1
    return ids


def _single_tensors(graph: Graph) -> Iterator[tuple[int, str]]:
    """Yield the places after which one tensor is live, with that tensor."""
    last_use = {name: place for place, node in enumerate(graph.nodes) for name in node.inputs}
    last_use[graph.output.name] = len(graph.nodes)
    live = {graph.input.name}
    for place, node in enumerate(graph.nodes[:-1]):
        live.update(name for name in node.outputs if last_use.get(name, -1) > place)
        live.difference_update(name for name in node.inputs if last_use[name] == place)
        if len(live) == 1 and live <= graph.measured.keys():
            yield place, next(iter(live))


def _bar_fused(found: Sequence[tuple[int, Cut]], graph: Graph) -> tuple[Cut, ...]:
    """Bar the cuts between an operator and its activation.

    That is where nothing but functions of single elements, one of them non-linear, stands between
    a cut and the next one: convolution, batch normalisation, residual sum on one side, ReLU, SiLU
    or GELU on the other. Runtimes fuse them, and the activation makes the tensor cheaper to send.
    """
    ends = [*(place for place, _ in found), len(graph.nodes) - 1][1:]
    result: list[Cut] = []
    fused_later = False
    for (place, cut), end in zip(reversed(found), reversed(ends), strict=True):
        between = [node.op for node in graph.nodes[place + 1 : end + 1]]
        fused = all(map(is_elementwise, between)) and (
            fused_later or not ACTIVATIONS.isdisjoint(between)
        )
        if fused and not cut.barred:
            before = graph.nodes[place].op
            cut = replace(cut, barred=f"it lies between {before} and its activation")
        result.append(cut)
        fused_later = fused
    return tuple(reversed(result))
