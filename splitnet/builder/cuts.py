"""Cuts of a graph, and the names that users give to them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from splitnet.builder.flow import INPUT, Flow, bits
from splitnet.builder.frontiers import find_frontiers
from splitnet.builder.graph import Graph
from splitnet.builder.operators import ACTIVATIONS, is_elementwise
from splitnet.config import nearest
from splitnet.errors import PartitionError, UnknownNameError
from splitnet.values import DTYPE_BYTES, TensorSpec

NAMED_CUTS = 12
"""Cuts that an error message lists, so that it stays a line."""

MAX_CUTS = 500
"""Most cuts of a model; of those with several tensors the ones with the fewest bytes are kept."""

JOINT = "--"
"""What stands between the tensors in the id of a cut."""

MAX_ID = 170
"""Longest id, so that names of paths and files with it stay within their own limits."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Tensors through which everything flows.

    Attributes
    ----------
    id
        Stable name: ``<module path>:<operator>:<ordinal>`` or ``<operator>:<ordinal>``, and those
        of several tensors joined by ``--``.
    tensors
        Names of the tensors in the graph that was searched.
    specs
        Their forms; the first dimension is the batch.
    bytes
        Size of one sample, uncompressed.
    flops_before, flops_after
        Work of one sample on both sides (2 * multiply-accumulates).
    module
        Path of the torch module that produces the last tensor; empty for the root and for files.
    barred
        Why no boundary may be here; empty if one may.
    before
        The operators in front of it, one bit each in canonical order.
    """

    id: str
    tensors: tuple[str, ...]
    specs: tuple[TensorSpec, ...]
    bytes: int
    flops_before: int
    flops_after: int
    module: str = ""
    barred: str = ""
    before: int = field(default=0, repr=False)

    @property
    def single(self) -> bool:
        """Whether it is one tensor."""
        return len(self.tensors) == 1


def find_cuts(graph: Graph) -> tuple[Cut, ...]:
    """Return the interior cuts in the order of the computation.

    All single-tensor cuts are there: every path from an input to an output goes through such a
    tensor, so neither their set nor their ids depend on how parallel branches are ordered. Cuts of
    two to four tensors are those that `find_frontiers` finds, up to `MAX_CUTS` in all.
    """
    flow = Flow(graph)
    singles = _singles(flow)
    room = max(0, MAX_CUTS - len(singles))
    joint = sorted(find_frontiers(flow), key=lambda f: (flow.bytes_of(f.tensors), f.before))
    describe = _Describer(flow)
    found = [describe.cut(before, (tensor,)) for before, tensor in singles]
    found = _bar_fused(found, graph)
    found += [describe.cut(f.before, f.tensors) for f in joint if len(f.tensors) > 1][:room]
    return tuple(sorted(found, key=lambda c: (c.flops_before, c.before.bit_count(), c.before)))


def input_bytes(graph: Graph) -> int:
    """Return the size of one sample of all inputs."""
    return Flow(graph).bytes_of(spec.name for spec in graph.inputs)


def resolve_cut(name: str, cuts: Sequence[Cut]) -> Cut:
    """Return the cut with this id, or the last tensor produced inside the module of this path.

    Raises
    ------
    UnknownNameError
        No such cut (with the nearest name and those that may be boundaries).
    PartitionError
        The cut may not be a boundary.
    """
    inside = [c for c in cuts if name and c.single and f"{c.module}.".startswith(f"{name}.")]
    found = [c for c in cuts if name and c.id == name] or inside
    if not found:
        modules = {m for c in cuts for m in accumulate(c.module.split("."), "{}.{}".format)}
        hint = nearest(name, [*(c.id for c in cuts), *filter(None, modules)])
        usable = [c.id for c in cuts if c.single and not c.barred]
        named = ", ".join(usable[:NAMED_CUTS]) + (", ..." if len(usable) > NAMED_CUTS else "")
        raise UnknownNameError(f"no cut {name!r}{hint}; known: {named or 'none'}")
    cut = found[-1]
    if cut.barred:
        later = (c.id for c in cuts[cuts.index(cut) :] if c.single and not c.barred)
        hint = next((f"; cut at {id_!r} instead" for id_ in later), "")
        raise PartitionError(f"no boundary may be at {name!r} ({cut.id}): {cut.barred}{hint}")
    return cut


def _singles(flow: Flow) -> list[tuple[int, str]]:
    """Return the sets of operators after which one tensor is alive, with that tensor."""
    live: tuple[str, ...] = tuple(spec.name for spec in flow.graph.inputs)
    before, found = 0, []
    for node in range(len(flow.graph.nodes) - 1):
        live = flow.stepped(live, before, node)
        before |= 1 << node
        if len(live) == 1 and live[0] in flow.graph.measured:
            found.append((before, live[0]))
    return found


class _Describer:
    """Makes cuts of sets of operators and the tensors that leave them."""

    def __init__(self, flow: Flow) -> None:
        graph = flow.graph
        self._flow = flow
        self._flops = [graph.flops(node) for node in graph.nodes]
        self._needs = [graph.sizes_of(node) for node in graph.nodes]
        self._names = _tensor_names(graph)

    def cut(self, before: int, tensors: tuple[str, ...]) -> Cut:
        graph = self._flow.graph
        forms = [graph.measured[name] for name in tensors]
        done = sum(self._flops[node] for node in bits(before))
        last = self._flow.producer[tensors[-1]]
        return Cut(
            id=_joined([self._names[name][len(tensors) > 1] for name in tensors]),
            tensors=tensors,
            specs=tuple(form.spec(name) for form, name in zip(forms, tensors, strict=True)),
            bytes=self._flow.bytes_of(tensors),
            flops_before=done,
            flops_after=sum(self._flops) - done,
            module="" if last == INPUT else graph.nodes[last].module,
            barred=self._bar(before, tensors),
            before=before,
        )

    def _bar(self, before: int, tensors: Sequence[str]) -> str:
        graph = self._flow.graph
        forms = [graph.measured[name] for name in tensors]
        for form, name in zip(forms, tensors, strict=True):
            if not form.batched:
                return f"its shape is {list(form.spec(name).dims)}, not one row a sample"
            if form.dtype not in DTYPE_BYTES:
                return f"{form.dtype} tensors may not cross a cut"
        shown = {size for form in forms for size in form.readable}
        after = (needs for node, needs in enumerate(self._needs) if not before >> node & 1)
        hidden = sorted(frozenset[str]().union(*after) - shown)
        if hidden:
            return f"the size {hidden[0]} is needed behind it, and no tensor has it as a dimension"
        return ""


def _tensor_names(graph: Graph) -> dict[str, tuple[str, str]]:
    """Return the stable names of each tensor, alone and beside others.

    ``module:operator:ordinal`` counts within module and operator. Beside others, each output of an
    operator that has several has its number as well.
    """
    inputs = [spec.name for spec in graph.inputs]
    names = {n: ("input", f"input{i or ''}") for i, n in enumerate(inputs)}
    seen: Counter[str] = Counter()
    for node in graph.nodes:
        kind = ":".join(filter(None, (node.module, node.op.lower())))
        plain = f"{kind}:{seen[kind]}"
        seen[kind] += 1
        made = [name for name in node.outputs if name]
        for number, name in enumerate(made):
            names[name] = plain, f"{plain}.{number}" if len(made) > 1 else plain
    return names


def _joined(names: Sequence[str]) -> str:
    """Return the id of a cut; one that would be too long ends in a hash of the rest."""
    text = JOINT.join(names)
    if len(text) <= MAX_ID:
        return text
    rest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{names[-1][: MAX_ID - len(JOINT) - len(rest)]}{JOINT}{rest}"


def _bar_fused(found: Sequence[Cut], graph: Graph) -> list[Cut]:
    """Bar the single-tensor cuts between an operator and its activation.

    That is where nothing but functions of single elements, one of them non-linear, stands between
    a cut and the next one: convolution, batch normalisation, residual sum on one side, ReLU, SiLU
    or GELU on the other. Runtimes fuse them, and the activation makes the tensor cheaper to send.
    """
    ends = [*(cut.before for cut in found), (1 << len(graph.nodes)) - 1][1:]
    result: list[Cut] = []
    fused_later = False
    for cut, end in zip(reversed(found), reversed(ends), strict=True):
        between = [graph.nodes[node].op for node in bits(end & ~cut.before)]
        fused = all(map(is_elementwise, between)) and (
            fused_later or not ACTIVATIONS.isdisjoint(between)
        )
        if fused and not cut.barred:
            last = graph.nodes[cut.before.bit_length() - 1].op
            cut = replace(cut, barred=f"it lies between {last} and its activation")
        result.append(cut)
        fused_later = fused
    return result[::-1]
