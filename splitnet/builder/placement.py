"""Where to cut a graph for a device, a cloud and a link of given speeds: the offline answer.

What a bundle can do later is a choice among its boundaries; this looks at every operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitnet.builder.cuts import Cut
from splitnet.builder.flow import Flow, bits
from splitnet.builder.graph import Graph
from splitnet.builder.mincut import Costs, CutFinder, Partition, Transfer
from splitnet.errors import ConfigError
from splitnet.values import DTYPE_BYTES

_UNSENDABLE_S = 1e9
"""Seconds that stand for "cannot be sent"; more than any model takes."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Speeds of both sides and of the link between them.

    Attributes
    ----------
    device_flops, cloud_flops
        Floating point operations per second that each side reaches on this kind of model.
    uplink_bps
        Bits per second towards the cloud.
    rtt_s
        Round trip time, paid once by whatever goes to the cloud.
    """

    device_flops: float
    cloud_flops: float
    uplink_bps: float
    rtt_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("device_flops", "cloud_flops", "uplink_bps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name):g}, must be above 0 and finite")
        if not 0 <= self.rtt_s < float("inf"):
            raise ConfigError(f"rtt_s is {self.rtt_s:g}, must be at least 0 and finite")


@dataclass(frozen=True, slots=True)
class Placement:
    """A partition of a model.

    Attributes
    ----------
    where
        Id of the cut, ``input`` if all is done in the cloud, ``output`` if all on the device.
    device_s, send_s, cloud_s
        Time of each stage; the round trip counts as sending.
    """

    where: str
    device_s: float
    send_s: float
    cloud_s: float

    @property
    def latency_s(self) -> float:
        """Time of one request."""
        return self.device_s + self.send_s + self.cloud_s

    @property
    def period_s(self) -> float:
        """Time between the answers of a full pipeline."""
        return max(self.device_s, self.send_s, self.cloud_s)


@dataclass(frozen=True, slots=True)
class Placements:
    """The best places to cut.

    Attributes
    ----------
    fastest
        The least latency of all partitions of the graph.
    steadiest, period_bound_s
        A small period (the least is hard to find), and a bound below which no period is.
    usable
        The least latency among the cuts at which a boundary may be, and both ends.
    """

    fastest: Placement
    steadiest: Placement
    period_bound_s: float
    usable: Placement


def place(graph: Graph, cuts: Sequence[Cut], setting: Setting) -> Placements:
    """Return where to cut `graph` in `setting`.

    Parameters
    ----------
    cuts
        What `find_cuts` found.
    """
    flow = Flow(graph)
    names = [name for name in flow.producer if flow.consumers[name] or name in flow.answers]
    finder = CutFinder(
        len(graph.nodes),
        [
            Transfer(flow.producer[name], tuple(bits(flow.consumers[name])), name in flow.answers)
            for name in names
        ],
    )
    flops = np.array([graph.flops(node) for node in graph.nodes], float)
    costs = Costs(
        flops / setting.device_flops,
        flops / setting.cloud_flops,
        np.array([_send_s(flow, name, setting) for name in names]),
        setting.rtt_s,
    )
    fastest = finder.fastest(costs)
    steadiest, bound = finder.steadiest(costs)
    everything = sum(flops)
    sizes = {cut.id: (cut.flops_before, cut.bytes) for cut in cuts if not cut.barred}
    sizes["input"] = 0, flow.bytes_of(spec.name for spec in graph.inputs)
    options = [
        Placement(
            where,
            done / setting.device_flops,
            setting.rtt_s + 8 * nbytes / setting.uplink_bps,
            (everything - done) / setting.cloud_flops,
        )
        for where, (done, nbytes) in sizes.items()
    ]
    options.append(Placement("output", everything / setting.device_flops, 0.0, 0.0))
    by_set = {cut.before: cut.id for cut in cuts}
    return Placements(
        _named(fastest, flow, by_set),
        _named(steadiest, flow, by_set),
        bound,
        min(options, key=lambda option: option.latency_s),
    )


def _send_s(flow: Flow, name: str, setting: Setting) -> float:
    form = flow.graph.measured.get(name)
    if form is None or not form.batched or form.dtype not in DTYPE_BYTES:
        return _UNSENDABLE_S
    return 8 * flow.bytes_of([name]) / setting.uplink_bps


def _named(found: Partition, flow: Flow, known: dict[int, str]) -> Placement:
    before = sum(1 << node for node, here in enumerate(found.on_device) if here)
    ends = {0: "input", (1 << len(found.on_device)) - 1: "output"}
    where = (ends | known).get(before) or f"{len(flow.crossing(before))} tensors"
    return Placement(where, found.device_s, found.send_s, found.cloud_s)
