"""Minimum cuts: equal to trying every partition, and never impossible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.builder.mincut import INPUT, Costs, CutFinder, Partition, Transfer


def every_partition(count: int, transfers: Sequence[Transfer]) -> list[list[bool]]:
    """Return all partitions in which the device has what its operators read."""
    reads = [0] * count
    for transfer in transfers:
        for consumer in transfer.consumers:
            reads[consumer] |= 0 if transfer.producer == INPUT else 1 << transfer.producer
    level, found = {0}, {0}
    while level:
        level = {
            nodes | 1 << node
            for nodes in level
            for node in range(count)
            if not nodes >> node & 1 and not reads[node] & ~nodes
        }
        found |= level
    return [[bool(nodes >> node & 1) for node in range(count)] for nodes in found]


@st.composite
def problems(draw: st.DrawFn) -> tuple[int, tuple[Transfer, ...], Costs]:
    """Draw a graph of up to 9 operators and its costs."""
    count = draw(st.integers(1, 9))
    readers: dict[int, list[int]] = {node: [] for node in range(INPUT, count)}
    for node in range(count):
        for source in draw(st.sets(st.integers(INPUT, node - 1), min_size=1, max_size=3)):
            readers[source].append(node)
    transfers = tuple(
        Transfer(source, tuple(found), final=source == count - 1 or not found)
        for source, found in readers.items()
        if found or source != INPUT
    )
    seconds = st.integers(0, 1000)

    def drawn(size: int) -> list[int]:
        return draw(st.lists(seconds, min_size=size, max_size=size))

    device, cloud, send = (np.array(drawn(n), float) for n in (count, count, len(transfers)))
    return count, transfers, Costs(device, cloud, send, float(draw(seconds)))


@settings(deadline=None)
@given(problems())
def test_the_fastest_is_the_best_of_all(problem: tuple[int, tuple[Transfer, ...], Costs]) -> None:
    count, transfers, costs = problem
    finder = CutFinder(count, transfers)
    everything = [finder.evaluate(p, costs) for p in every_partition(count, transfers)]
    found = finder.fastest(costs)
    assert list(found.on_device) in every_partition(count, transfers)
    assert found.latency_s == min(p.latency_s for p in everything)


@settings(deadline=None, max_examples=50)
@given(problems())
def test_the_period_lies_between_the_bound_and_three_times_it(
    problem: tuple[int, tuple[Transfer, ...], Costs],
) -> None:
    count, transfers, costs = problem
    finder = CutFinder(count, transfers)
    best = min(finder.evaluate(p, costs).period_s for p in every_partition(count, transfers))
    found, bound = finder.steadiest(costs)
    assert list(found.on_device) in every_partition(count, transfers)
    assert bound <= best * (1 + 1e-6) and best <= found.period_s <= 3 * best + 1e-9


CHAIN = (Transfer(INPUT, (0,)), Transfer(0, (1,)), Transfer(1, (2,)), Transfer(2, (), final=True))


def chain(device: float, cloud: float, send: Sequence[float], fixed: float = 0.0) -> Partition:
    """Return the fastest partition of three operators in a row."""
    costs = Costs(np.full(3, device), np.full(3, cloud), np.array(send), fixed)
    return CutFinder(3, CHAIN).fastest(costs)


@pytest.mark.parametrize(
    ("device", "cloud", "send", "fixed", "expected"),
    [
        (1.0, 9.0, (1.0, 1.0, 1.0, 0.0), 0.0, (True, True, True)),
        (9.0, 1.0, (1.0, 1.0, 1.0, 0.0), 0.0, (False, False, False)),
        (2.0, 1.0, (9.0, 1.0, 9.0, 0.0), 0.0, (True, False, False)),
        (2.0, 1.0, (9.0, 1.0, 9.0, 0.0), 1.5, (True, True, True)),
    ],
)
def test_a_chain(
    device: float, cloud: float, send: Sequence[float], fixed: float, expected: tuple[bool, ...]
) -> None:
    assert chain(device, cloud, send, fixed).on_device == expected


def test_a_tensor_with_several_readers_is_sent_once() -> None:
    transfers = (
        Transfer(INPUT, (0,)),
        Transfer(0, (1, 2, 3)),
        *(Transfer(node, (4,)) for node in (1, 2, 3)),
        Transfer(4, (), final=True),
    )
    costs = Costs(
        np.array([1.0, 9.0, 9.0, 9.0, 9.0]), np.ones(5), np.array([9.0, 2.0, 9.0, 9.0, 9.0, 0.0])
    )
    found = CutFinder(5, transfers).fastest(costs)
    assert found.on_device == (True, False, False, False, False)
    assert (found.device_s, found.send_s, found.cloud_s) == (1.0, 2.0, 4.0)


def test_an_output_made_on_the_device_is_sent_with_the_rest() -> None:
    transfers = (
        Transfer(INPUT, (0,)),
        Transfer(0, (1,), final=True),
        Transfer(1, (), final=True),
    )
    costs = Costs(np.array([1.0, 9.0]), np.ones(2), np.array([9.0, 3.0, 0.0]))
    found = CutFinder(2, transfers).fastest(costs)
    assert (found.on_device, found.send_s) == ((True, False), 3.0)


def test_nothing_costs_anything() -> None:
    assert chain(0.0, 0.0, (0.0, 0.0, 0.0, 0.0)).latency_s == 0
