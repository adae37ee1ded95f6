"""The best cut of a graph between a device and the cloud, by minimum s-t cut.

Source: Hu et al., "Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge" (DADS),
INFOCOM 2019: the latency of a partition is the capacity of a cut of a network in which every
operator is a vertex, and a tensor that several operators read has an auxiliary vertex, so that it
is paid for once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

Floats: TypeAlias = NDArray[np.float64]

INPUT = -1
"""Producer of the inputs, in place of the number of an operator."""

_DEVICE, _CLOUD, _AWAY = 0, 1, 2
"""The two terminals, and the vertex that is cut off the device if anything runs in the cloud."""

_FIRST = 3
"""Vertex of operator 0."""

_UNITS = 1 << 29
"""The flow is counted in whole numbers of 32 bits: this many are the latency of the better one of
the two trivial partitions. It leaves room for twice the sum of a capacity and a flow."""

_NEVER = 1 << 30
"""Capacity of what must not be cut."""

ROUNDS = 48
"""Cuts that `CutFinder.steadiest` looks at."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A tensor that has to be sent once if its producer is on the device and any reader is not.

    Attributes
    ----------
    producer
        Number of the operator that makes it, `INPUT` for an input of the model.
    consumers
        The operators that read it.
    final
        Whether it is an output of the model, which the cloud needs if it has anything to answer.
    """

    producer: int
    consumers: tuple[int, ...]
    final: bool = False


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of each operator on both sides, of each transfer, and of going to the cloud at all.

    All are finite and not negative; ``fixed_s`` is for instance a round trip.
    """

    device_s: Floats
    cloud_s: Floats
    send_s: Floats
    fixed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Partition:
    """Operators on the device, and what that costs.

    Attributes
    ----------
    on_device
        For each operator, whether the device runs it; with it all that it reads from.
    device_s, send_s, cloud_s
        Time of the three stages; ``send_s`` holds ``fixed_s`` unless everything is on the device.
    """

    on_device: tuple[bool, ...]
    device_s: float
    send_s: float
    cloud_s: float

    @property
    def latency_s(self) -> float:
        """Time of one request: the sum of the stages."""
        return self.device_s + self.send_s + self.cloud_s

    @property
    def period_s(self) -> float:
        """Time between answers of a full pipeline: that of the slowest stage."""
        return max(self.device_s, self.send_s, self.cloud_s)


class CutFinder:
    """Finds cuts of one graph for any costs.

    Parameters
    ----------
    count
        Number of operators.
    transfers
        All tensors that an operator reads or makes.
    """

    def __init__(self, count: int, transfers: Sequence[Transfer]) -> None:
        self._count = count
        self._transfers = tuple(transfers)
        links: list[tuple[int, int]] = []
        operators = range(_FIRST, _FIRST + count)
        links += [(vertex, _CLOUD) for vertex in operators]
        links += [(_DEVICE, vertex) for vertex in operators]
        links.append((_DEVICE, _AWAY))
        never: set[tuple[int, int]] = set()
        vertex = _FIRST + count
        for transfer in transfers:
            source = _DEVICE if transfer.producer == INPUT else _FIRST + transfer.producer
            targets = [_FIRST + consumer for consumer in transfer.consumers]
            targets += [_AWAY] if transfer.final else []
            if source != _DEVICE:
                never |= {(target, source) for target in targets}
            target = targets[0]
            if len(targets) > 1:
                target, vertex = vertex, vertex + 1
                never |= {(target, reader) for reader in targets}
            links.append((source, target))
        self._link(links, sorted(never), vertex)

    def fastest(self, costs: Costs) -> Partition:
        """Return the partition with the least latency."""
        return self.evaluate(self._cut(costs), costs)

    def steadiest(self, costs: Costs, rounds: int = ROUNDS) -> tuple[Partition, float]:
        """Return a partition with a small period, and a bound below which no period is.

        The slowest of three stages cannot be minimised by one cut (the problem is hard, DADS,
        section IV-C), but every weighted sum of the stages can, and for weights that sum to 1 that
        sum is at most the period. The weights follow the slowest stage (multiplicative weights,
        Arora et al. 2012); the best partition seen is kept, and then single operators change sides
        as long as that helps.
        """
        weights = np.ones(3) / 3
        best, bound = self.fastest(costs), 0.0
        for number in range(1, rounds + 1):
            found = self.evaluate(self._cut(_weighted(costs, weights)), costs)
            stages = np.array([found.device_s, found.send_s, found.cloud_s])
            bound = max(bound, float(weights @ stages))
            best = min(best, found, key=lambda p: p.period_s)
            if bound >= best.period_s * (1 - 1e-6):
                break
            weights = weights * np.exp(stages / (stages.max() or 1.0) / np.sqrt(number))
            weights /= weights.sum()
        best = self._climb(best, costs)
        return best, min(bound, best.period_s)

    def evaluate(self, on_device: Sequence[bool] | NDArray[np.bool_], costs: Costs) -> Partition:
        """Return what a partition costs."""
        here = np.asarray(on_device, bool)
        sent = 0.0
        if not here.all():
            sent = costs.fixed_s
            for transfer, seconds in zip(self._transfers, costs.send_s, strict=True):
                made = transfer.producer == INPUT or here[transfer.producer]
                if made and (transfer.final or not all(here[c] for c in transfer.consumers)):
                    sent += float(seconds)
        return Partition(
            tuple(here.tolist()),
            float(costs.device_s[here].sum()),
            sent,
            float(costs.cloud_s[~here].sum()),
        )

    def _climb(self, start: Partition, costs: Costs) -> Partition:
        best, better = start, True
        while better:
            moved = (self.evaluate(here, costs) for here in self._neighbours(best.on_device))
            found = min(moved, key=lambda p: p.period_s, default=best)
            better = found.period_s < best.period_s
            best = found if better else best
        return best

    def _neighbours(self, on_device: Sequence[bool]) -> Iterator[list[bool]]:
        """Yield the partitions in which one operator changed its side."""
        missing, used = [0] * self._count, [0] * self._count
        for transfer in self._transfers:
            here = transfer.producer == INPUT or on_device[transfer.producer]
            for consumer in transfer.consumers:
                missing[consumer] += not here
                if transfer.producer != INPUT:
                    used[transfer.producer] += on_device[consumer]
        for node, here in enumerate(on_device):
            if not (used[node] if here else missing[node]):
                yield [*on_device[:node], not here, *on_device[node + 1 :]]

    def _link(
        self, links: Sequence[tuple[int, int]], never: Sequence[tuple[int, int]], vertices: int
    ) -> None:
        """Keep the sparse form of the network; only the capacities change with the costs."""
        rows, columns = np.array([*links, *never]).T
        keys = rows * vertices + columns
        unique, self._slots = np.unique(keys, return_inverse=True)
        self._columns = (unique % vertices).astype(np.int32)
        self._starts = np.searchsorted(unique, np.arange(vertices + 1) * vertices).astype(np.int32)
        self._fixed = np.full(len(never), float(_NEVER))
        self._size = vertices

    def _cut(self, costs: Costs) -> NDArray[np.bool_]:
        """Return for each operator whether it is on the device in a minimum cut."""
        inputs = (s for t, s in zip(self._transfers, costs.send_s, strict=True) if t.producer < 0)
        limit = min(costs.device_s.sum(), costs.cloud_s.sum() + sum(inputs) + costs.fixed_s)
        if limit <= 0:
            return np.full(self._count, costs.device_s.sum() <= 0)
        scale = _UNITS / limit
        given = np.concatenate([costs.device_s, costs.cloud_s, [costs.fixed_s], costs.send_s])
        units = np.concatenate([np.rint(given * scale), self._fixed])
        total = np.bincount(self._slots, units, len(self._columns))
        capacity = np.minimum(total, _NEVER).astype(np.int32)
        shape = (self._size, self._size)
        network = csr_array((capacity, self._columns, self._starts), shape)
        rest = network - maximum_flow(network, _DEVICE, _CLOUD, method="dinic").flow
        rest.eliminate_zeros()
        reached = breadth_first_order(rest, _DEVICE, return_predecessors=False)
        here = np.zeros(self._size, bool)
        here[reached] = True
        return here[_FIRST : _FIRST + self._count]


def _weighted(costs: Costs, weights: Floats) -> Costs:
    device, send, cloud = weights.tolist()
    return Costs(
        costs.device_s * device, costs.cloud_s * cloud, costs.send_s * send, costs.fixed_s * send
    )
