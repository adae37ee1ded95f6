"""Places of an unmodified network by name, and the parts of it between them.

A place is ``input``, ``output``, the path of a module (``layer1``: what that module returns) or the
id of a cut (``layer1.8:relu:1``, see docs/cuts.md).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

from torch import Tensor, fx, nn

from splitnet.config import nearest
from splitnet.errors import ModelError, PartitionError

INPUT, OUTPUT = "input", "output"

_OPERATORS: dict[str, str] = {
    "adaptive_avg_pool2d": "globalaveragepool",
    "avg_pool2d": "averagepool",
    "batch_norm": "conv",  # an export folds it into the convolution in front
    "batchnorm2d": "conv",
    "cat": "concat",
    "conv2d": "conv",
    "div": "div",
    "iadd": "add",
    "linear": "gemm",
    "max_pool2d": "maxpool",
    "maxpool2d": "maxpool",
    "mean": "reducemean",
    "relu_": "relu",
    "truediv": "div",
}
"""ONNX's name, in lower case, of what torch calls otherwise."""


class _Tracer(fx.Tracer):
    """Notes which tensor each module returns."""

    def __init__(self) -> None:
        super().__init__()
        self.returned: dict[str, fx.Node] = {}
        self.owners: dict[str, str] = {}
        self._inside = [""]

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        path = self.path_of_module(m)
        self._inside.append(path)
        try:
            found = super().call_module(m, forward, args, kwargs)
        finally:
            self._inside.pop()
        if isinstance(found, fx.Proxy):
            self.returned[path] = found.node
        return found

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self.owners.setdefault(node.name, self._inside[-1])
        return node


class Network:
    """A torch network of one input that can be entered and left at any tensor between its modules.

    Parameters
    ----------
    example
        A prepared input ``(1, ...)``; parts are checked against the whole network on it.

    Raises
    ------
    ModelError
        The network decides on the content of its input, so that its parts cannot be told apart.
    """

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        self.module = module.eval()
        self.example = example
        tracer = _Tracer()
        try:
            graph = tracer.trace(self.module)
        except Exception as error:  # whatever the network's own code raises on a stand-in
            raise ModelError(
                f"the network cannot be followed ({type(error).__name__}: {error}): its forward "
                "must not decide on the content of its input"
            ) from error
        sources = [node for node in graph.nodes if node.op == "placeholder"]
        if len(sources) != 1:
            raise ModelError(f"the network takes {len(sources)} inputs, a learned path has one")
        self._graph = graph
        cuts = _cut_ids(self.module, graph, tracer.owners)
        self._places = {INPUT: sources[0], **tracer.returned, **cuts}
        (answer,) = (node for node in graph.nodes if node.op == "output")
        if not isinstance(answer.args[0], fx.Node):
            raise ModelError("the network returns several tensors, a learned path has one")
        self._places[OUTPUT] = answer.args[0]

    def check(self, place: str) -> str:
        """Return `place`, if there is one of this name.

        Raises
        ------
        PartitionError
            There is none; the message suggests the nearest.
        """
        if place not in self._places:
            raise PartitionError(
                f"the network has no place {place!r}{nearest(place, self._places)}; a place is "
                f"{INPUT}, the path of a module or the id of a cut (splitnet cuts shows them)"
            )
        return place

    def check_order(self, places: Sequence[str]) -> None:
        """Raise `PartitionError` unless `places` stand in the order of the network."""
        order = {node: number for number, node in enumerate(self._graph.nodes)}
        for first, second in pairwise(places):
            if order[self._node(first)] >= order[self._node(second)]:
                raise PartitionError(
                    f"{first!r} does not stand before {second!r}: name places in the order of the "
                    "network"
                )

    def part(self, start: str, stops: Sequence[str]) -> nn.Module:
        """Return a copy of what leads from `start` to each of `stops`, with the same weights.

        It takes one tensor and returns a tuple. Its parameters keep their names.

        Raises
        ------
        PartitionError
            There is no such place, or what is behind `start` needs more than its tensor.
        """
        first, last = self._node(start), [self._node(stop) for stop in stops]
        graph, known = fx.Graph(), {}
        needed = _ancestors(last, first)
        known[first] = graph.placeholder("x")
        for node in self._graph.nodes:
            if node in needed and node is not first:
                if node.op == "placeholder":
                    raise PartitionError(
                        f"what is behind {start!r} also needs a tensor from in front of it; "
                        "choose a cut of one tensor (splitnet cuts shows them)"
                    )
                known[node] = graph.node_copy(node, lambda n: known[n])
        graph.output(tuple(known[node] for node in last))
        graph.lint()
        part = fx.GraphModule(deepcopy(self.module), graph)
        part.delete_all_unused_submodules()
        return part

    def _node(self, place: str) -> fx.Node:
        found: fx.Node = self._places[self.check(place)]
        return found


def run_part(part: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Return what a part makes of `x`."""
    found: tuple[Tensor, ...] = part(x)
    return found


def _ancestors(last: Sequence[fx.Node], first: fx.Node) -> set[fx.Node]:
    """Return everything that `last` need, up to `first`."""
    needed: set[fx.Node] = set()
    open_ = list(last)
    while open_:
        node = open_.pop()
        if node not in needed:
            needed.add(node)
            open_ += [] if node is first else node.all_input_nodes
    return needed


def _cut_ids(root: nn.Module, graph: fx.Graph, owners: dict[str, str]) -> dict[str, fx.Node]:
    """Return the tensors by the ids of their cuts; of a folded pair, the later one."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    found: dict[str, fx.Node] = {}
    for node in graph.nodes:
        if node.op not in ("call_function", "call_method", "call_module"):
            continue
        owner, operator = owners[node.name], _operator(root, node)
        number = counts[owner][operator]
        counts[owner][operator] += 1
        found[":".join([*filter(None, [owner]), operator, str(number)])] = node
    return found


def _operator(root: nn.Module, node: fx.Node) -> str:
    if node.op == "call_module":
        name = type(root.get_submodule(str(node.target))).__name__.lower()
    else:
        name = node.target if isinstance(node.target, str) else node.target.__name__
    return _OPERATORS.get(name, name)
