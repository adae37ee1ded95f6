"""Advice: what helps the edge choose. It may change without touching the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from splitnet.bundle.contract import Contract, GraphRef
from splitnet.bundle.contract_checks import check_graph, check_id, check_sha256
from splitnet.bundle.json_form import Reader, to_json
from splitnet.config import nearest
from splitnet.errors import BundleError
from splitnet.values import SKIP, Plan, Profile, StageTime

ADVICE_VERSION = 1
"""Version of ``advice.json``; a reader refuses any other."""


@dataclass(frozen=True, slots=True)
class ExitHead:
    """A graph that answers early from the tensor at `boundary`.

    Its output has the shape of the model's output. Confidences are computed from
    ``logits / temperature``; `threshold` was chosen on calibration data.
    """

    id: str
    boundary: int
    graph: GraphRef
    temperature: float
    confidence: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Prefilter:
    """A head that ends requests in whose input there is nothing of interest; nothing is sent then.

    Attributes
    ----------
    head
        Named `SKIP`. Its output is ``(N, 2)``: logits of nothing and of something of interest.
        A request ends where the confidence in nothing reaches the threshold; where it does not,
        it goes on as if there were no prefilter.
    interest
        The labels, or classes of boxes, of interest: a sample with one of them should not end
        there; empty: with any.
    """

    head: ExitHead
    interest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FusedRun:
    """The segments from boundary `first` to boundary `stop` as one graph over the same shards.

    It computes what they do one after the other, in less time, and replaces them in memory; the
    tensors of the boundaries in between are not seen.
    """

    first: int
    stop: int
    graph: GraphRef


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage has to do besides FLOPs, for one sample, as its graph says without running it.

    Attributes
    ----------
    operators
        Operators that compute or move something.
    moved_bytes
        Activations that they read and write, intermediate ones included.
    weight_bytes
        Parameters.
    """

    operators: int
    moved_bytes: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class Advice:
    """Exits, plans, profiles and the names of the sample table and of the golden vectors.

    ``costs[stage][operator class]`` is the share of a stage's work (FLOPs) in an operator class;
    the shares of a stage sum to 1.

    Attributes
    ----------
    contract_sha256
        Hash of the contract that this advice was made for, in hexadecimal digits.
    sample_table, golden
        File and hash; they have no shards.
    roles
        Where training, calibration and test data came from, for people.
    flops
        Floating-point operations of one sample, by stage.
    fused
        Runs of segments as one graph, where that pays.
    work
        The other static features of the stages, which times on other devices are predicted from;
        empty in bundles of older builds.
    sizes
        Sizes of dynamic dimensions in the golden samples, by name: what a sample of unknown size
        is taken to have.
    extra_bytes
        Size of the files of each learned path that no segment needs, by name; other learned paths
        may share them. Empty in bundles of older builds.
    prefilter
        What decides that nothing is sent, ``None`` if nothing does.
    """

    contract_sha256: str
    exits: tuple[ExitHead, ...]
    plans: tuple[Plan, ...]
    profiles: tuple[Profile, ...]
    costs: Mapping[str, Mapping[str, float]]
    sample_table: GraphRef
    golden: GraphRef
    roles: Mapping[str, Any]
    flops: Mapping[str, int]
    fused: tuple[FusedRun, ...] = ()
    work: Mapping[str, Work] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    extra_bytes: Mapping[str, int] = field(default_factory=dict)
    prefilter: Prefilter | None = None

    def __post_init__(self) -> None:
        check_sha256(self.contract_sha256, "advice.json: contract_sha256")
        check_graph(self.sample_table, "advice.json: sample_table")
        check_graph(self.golden, "advice.json: golden")
        for i, head in enumerate(self.exits):
            _check_exit(head, f"advice.json: exits[{i}]")
            if head.id == SKIP:
                raise BundleError(f"advice.json: exits[{i}].id: {SKIP!r} names the prefilter")
        if self.prefilter is not None:
            _check_prefilter(self.prefilter, "advice.json: prefilter")
        for i, run in enumerate(self.fused):
            check_graph(run.graph, f"advice.json: fused[{i}].graph")
        for name, size in self.sizes.items():
            if size < 0:
                raise BundleError(f"advice.json: sizes.{name}: is {size}, must be at least 0")
        for name, size in self.extra_bytes.items():
            if size < 0:
                raise BundleError(f"advice.json: extra_bytes.{name}: is {size}, must be at least 0")
        for i, plan in enumerate(self.plans):
            _check_rule(plan, {head.id for head in self.heads}, f"advice.json: plans[{i}]")
        for i, profile in enumerate(self.profiles):
            _check_profile(profile, f"advice.json: profiles[{i}]")

    @property
    def heads(self) -> tuple[ExitHead, ...]:
        """The prefilter's head and those of the exits, in the order in which a request meets them.

        At the same boundary the prefilter comes first.
        """
        first = () if self.prefilter is None else (self.prefilter.head,)
        return tuple(sorted((*first, *self.exits), key=lambda head: head.boundary))

    def check_against(self, contract: Contract) -> None:
        """Raise `BundleError` if this advice speaks of what `contract` does not have."""
        if self.contract_sha256 != contract.sha256:
            raise BundleError(
                f"advice.json was made for the contract {self.contract_sha256[:12]}, contract.json "
                f"is {contract.sha256[:12]}; build the bundle again or copy both files together"
            )
        last = len(contract.segments)
        for i, head in enumerate(self.exits):
            if head.boundary > last:
                place = f"advice.json: exits[{i}].boundary"
                raise BundleError(f"{place}: is {head.boundary}, must be from 0 to {last}")
        if self.prefilter is not None and self.prefilter.head.boundary > last:
            place, boundary = "advice.json: prefilter.head.boundary", self.prefilter.head.boundary
            raise BundleError(f"{place}: is {boundary}, must be from 0 to {last}")
        for i, run in enumerate(self.fused):
            if not 0 <= run.first < run.stop - 1 < last:
                raise BundleError(
                    f"advice.json: fused[{i}]: leads from {run.first} to {run.stop}, must be two "
                    f"or more segments of the {last} that there are"
                )
        for i, plan in enumerate(self.plans):
            self._check_plan(plan, contract, f"advice.json: plans[{i}]")

    def _check_plan(self, plan: Plan, contract: Contract, where: str) -> None:
        paths = {path.id: path for path in contract.paths}
        if plan.path not in paths:
            raise BundleError(
                f"{where}.path: unknown path {plan.path!r}{nearest(plan.path, paths)}"
            )
        path = paths[plan.path]
        if plan.level >= len(path.levels):
            count = len(path.levels)
            raise BundleError(
                f"{where}.level: is {plan.level}, the path {path.id!r} has {count} levels, from 0"
            )
        boundaries = {head.id: head.boundary for head in self.heads}
        for i, step in enumerate(plan.exits):
            if boundaries[step.exit] > path.hops[0].boundary:
                raise BundleError(
                    f"{where}.exits[{i}].exit: {step.exit!r} stands at boundary "
                    f"{boundaries[step.exit]}, the path leaves at {path.hops[0].boundary}"
                )

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``advice.json``."""
        return {"version": ADVICE_VERSION, **to_json(self)}

    @classmethod
    def from_json(cls, data: Any) -> Advice:
        """Return the advice in `data`, the parsed content of ``advice.json``.

        Unknown keys are ignored, so that newer advice still helps an older edge.

        Raises
        ------
        BundleError
            Another version, a wrong type or value; the message names its place.
        """
        return Reader("advice.json", ADVICE_VERSION, refuse_unknown=False).read(cls, data)


def _check_exit(head: ExitHead, where: str) -> None:
    check_id(head.id, f"{where}.id")
    check_graph(head.graph, f"{where}.graph")
    if head.boundary < 0:
        raise BundleError(f"{where}.boundary: is {head.boundary}, must be at least 0")
    if head.temperature <= 0:
        raise BundleError(f"{where}.temperature: is {head.temperature}, must be above 0")


def _check_prefilter(prefilter: Prefilter, where: str) -> None:
    _check_exit(prefilter.head, f"{where}.head")
    if prefilter.head.id != SKIP:
        raise BundleError(f"{where}.head.id: is {prefilter.head.id!r}, must be {SKIP!r}")
    if min(prefilter.interest, default=0) < 0:
        raise BundleError(f"{where}.interest: is {list(prefilter.interest)}, must be labels")


def _check_rule(plan: Plan, exits: set[str], where: str) -> None:
    if plan.level < 0:
        raise BundleError(f"{where}.level: is {plan.level}, must be at least 0")
    if not all(threshold >= 0 for threshold in plan.stops):
        raise BundleError(f"{where}.stops: is {list(plan.stops)}, must be confidences")
    for i, step in enumerate(plan.exits):
        if step.exit not in exits:
            hint = nearest(step.exit, exits)
            raise BundleError(f"{where}.exits[{i}].exit: unknown exit {step.exit!r}{hint}")


def _check_profile(profile: Profile, where: str) -> None:
    if profile.reference_s is not None and profile.reference_s <= 0:
        raise BundleError(f"{where}.reference_s: is {profile.reference_s}, must be above 0")
    for stage, time in profile.stages.items():
        _check_time(time, f"{where}.stages.{stage}")
    for i, entry in enumerate(profile.batches):
        if entry.batch < 1:
            raise BundleError(f"{where}.batches[{i}].batch: is {entry.batch}, must be at least 1")
        _check_time(entry.time, f"{where}.batches[{i}].time")


def _check_time(time: StageTime, where: str) -> None:
    if not 0 <= time.p50_s <= time.p95_s:
        raise BundleError(
            f"{where}: a median of {time.p50_s} s and a 95th percentile of "
            f"{time.p95_s} s; they are not negative, and the median is the smaller one"
        )
