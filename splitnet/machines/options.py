"""The feasible continuations of a request, priced from profile and sample table.

What the exits already passed said of a request selects the rows of the sample table that its
expected accuracy and bytes are taken from: an exit that is right for most samples is right far less
often for those that did not leave there.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from splitnet.bundle import Bundle, ExitHead
from splitnet.bundle.sample_table import Mask
from splitnet.machines.agent_io import Encode, Prepare, RunExit, RunSegments, Stage
from splitnet.machines.request import NOT_PREPARED, Request
from splitnet.machines.stage_times import StageTimes
from splitnet.values import (
    DEVICE,
    ExitStep,
    Option,
    OptionKind,
    Plan,
    Profile,
    decode_stage,
    segment_stage,
)

MIN_ROWS = 20
"""Fewer rows than this say too little; the whole table is used instead."""

Known: TypeAlias = tuple[tuple[str, bool], ...]
"""Exits already run, in order, and whether their threshold was reached."""


DeviceWay: TypeAlias = tuple[tuple[Stage, ...], tuple[Stage, ...]]
"""Stages on the device until a plan's payload is ready, and until the next exit of its rule."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Statistics of a plan over the rows that match what is known of a request."""

    accuracy: float
    uplink_bytes: int
    exit_share: float


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways on from a boundary: to the cloud, and on the device with their cautious times."""

    offload: tuple[Option, ...]
    local: tuple[tuple[float, tuple[Option, ...]], ...]


class OptionBook:
    """Lists the options of a request at any point of its way."""

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        self._contract = bundle.contract
        self._table = bundle.table
        self._times = times
        self._cloud = _cloud_profile(bundle)
        self._expected: dict[tuple[Plan, Known], Expected] = {}
        self._device_ways: dict[tuple[int, int, Known], DeviceWay] = {}
        self._offloads: dict[tuple[int, int, Known], Option] = {}
        self._exit_scores: dict[tuple[str, Known], float] = {}
        self._priced: dict[tuple[int, Known], Ways] = {}
        self._fallback_s: dict[tuple[int, bool], float] = {}
        self._cloud_s: dict[tuple[str, int], float] = {}
        self._priced_version = -1
        self.exits: dict[str, ExitHead] = {
            head.id: head for head in sorted(bundle.advice.exits, key=lambda head: head.boundary)
        }
        self.end = len(self._contract.segments)
        self._cut = {path.id: path.hops[0].boundary for path in self._contract.paths}
        self._reply_bytes = sum(spec.sample_bytes() for spec in self._contract.outputs)
        self._reference = next(p.id for p in self._contract.paths if p.kind == "exact")
        rule = tuple(ExitStep(h.id, h.confidence, h.threshold) for h in self.exits.values())
        self._offload_plans = bundle.advice.plans
        self._local_plans = (Plan(DEVICE, 0), Plan(DEVICE, 0, rule)) if rule else (Plan(DEVICE, 0),)

    def keys(self) -> list[str]:
        """Return the name of every option that a policy may be told to follow."""
        offload = [plan.key for plan in self._offload_plans]
        local = [option.key for _, options in self._local(NOT_PREPARED, ()) for option in options]
        return offload + local

    def cut(self, path: str) -> int:
        """Return the boundary at which the device stops on `path`."""
        return self._cut[path]

    def cloud_run_s(self, path: str, level: int) -> float:
        """Return the worker's time for one request of `path` according to the build's profile."""
        if (path, level) not in self._cloud_s:
            entry = self._contract.path(path).hops[0].entry
            keys = [decode_stage(path, level)]
            keys += [segment_stage(index) for index in range(entry, self.end)]
            stages = self._cloud.stages
            self._cloud_s[path, level] = sum(stages[key].p50_s for key in keys if key in stages)
        return self._cloud_s[path, level]

    def options(
        self,
        request: Request,
        remaining_s: float | None,
        usable_paths: Set[str],
    ) -> list[Option]:
        """Return what can be done with `request` now.

        A plan is offered if its path is among `usable_paths`, a local way if time allows; the
        shortest one in any case, unless an exit has answered already.
        """
        known = self._known(request)
        ways = self._ways(request.boundary, known)
        options = [option for option in ways.offload if option.plan.path in usable_paths]
        answer = self._answer(request, known, bool(options))
        if answer is not None:
            options.insert(0, answer)
        offered = bool(known)
        for p95_s, local in ways.local:
            if not offered or remaining_s is None or p95_s <= remaining_s:
                options += local
                offered = True
        return options

    def fallback(self, boundary: int, live: bool) -> tuple[Stage, ...]:
        """Return the way from `boundary` to the local answer that a request is promised.

        A live request has no time to lose and takes the first exit, a deferred one the whole
        network.
        """
        return self._way(boundary, next(iter(self.exits), None) if live else None)

    def fallback_s(self, boundary: int, live: bool) -> float:
        """Return the 95th percentile of the time that `fallback` takes."""
        self._forget_old_prices()
        if (boundary, live) not in self._fallback_s:
            way = self.fallback(boundary, live)
            self._fallback_s[boundary, live] = self._times.p95_s(*way)
        return self._fallback_s[boundary, live]

    def _ways(self, boundary: int, known: Known) -> Ways:
        """Return the ways from `boundary`, priced anew only when a stage's time has changed."""
        self._forget_old_prices()
        if (boundary, known) not in self._priced:
            offload = tuple(
                self._offload(number, boundary, known) for number in range(len(self._offload_plans))
            )
            local = tuple(self._local(boundary, known))
            self._priced[boundary, known] = Ways(offload, local)
        return self._priced[boundary, known]

    def _forget_old_prices(self) -> None:
        if self._priced_version != self._times.version:
            self._priced_version = self._times.version
            self._priced.clear()
            self._fallback_s.clear()

    def _known(self, request: Request) -> Known:
        return tuple(
            (exit_id, request.results[exit_id].confidence >= head.threshold)
            for exit_id, head in self.exits.items()
            if exit_id in request.results
        )

    def _way(self, boundary: int, exit_id: str | None) -> tuple[Stage, ...]:
        """Return the stages from `boundary` to an exit or to the end of the network."""
        stop = self.end if exit_id is None else self.exits[exit_id].boundary
        stages: list[Stage] = [Prepare()] if boundary == NOT_PREPARED else []
        if max(boundary, 0) < stop:
            stages.append(RunSegments(max(boundary, 0), stop))
        return (*stages, RunExit(exit_id)) if exit_id is not None else tuple(stages)

    def _answer(self, request: Request, known: Known, can_offload: bool) -> Option | None:
        """Answer with the last exit: its rule is met, nothing can be sent, or a path refused."""
        if not known:
            return None
        exit_id = known[-1][0]
        plan = request.decision.option.plan
        confidence = request.results[exit_id].confidence
        met = any(s.exit == exit_id and confidence >= s.threshold for s in plan.exits)
        if not met and can_offload and not request.refused:
            return None
        return Option(
            kind=OptionKind.ANSWER,
            plan=plan,
            exit=exit_id,
            accuracy=self._exit_score(exit_id, known),
            device_s=0.0,
        )

    def _local(self, boundary: int, known: Known) -> Iterator[tuple[float, tuple[Option, ...]]]:
        """Yield the 95th percentile and the options of each local way, the shortest first."""
        done = {exit_id for exit_id, _ in known}
        for exit_id in [*(e for e in self.exits if e not in done), None]:
            way = self._way(boundary, exit_id)
            device_s = self._times.p50_s(*way)
            if exit_id is None:
                options = [
                    self._to_the_end(plan, boundary, known, device_s) for plan in self._local_plans
                ]
            else:
                accuracy = self._exit_score(exit_id, known)
                plan = Plan(DEVICE, 0)
                options = [Option(OptionKind.LOCAL, plan, exit_id, accuracy, device_s)]
            yield self._times.p95_s(*way), tuple(options)

    def _to_the_end(self, plan: Plan, boundary: int, known: Known, device_s: float) -> Option:
        expected = self._statistics(plan, known)
        return Option(
            kind=OptionKind.LOCAL,
            plan=plan,
            exit=None,
            accuracy=expected.accuracy,
            device_s=device_s,
            exit_share=expected.exit_share,
            exit_device_s=self._first_exit_s(plan, boundary, known),
        )

    def _first_exit_s(self, plan: Plan, boundary: int, known: Known) -> float:
        """Return the device time to the next exit of the plan's rule, 0 if there is none."""
        done = {exit_id for exit_id, _ in known}
        tried = next((step.exit for step in plan.exits if step.exit not in done), None)
        return self._times.p50_s(*self._way(boundary, tried)) if tried is not None else 0.0

    def _offload(self, number: int, boundary: int, known: Known) -> Option:
        """Return the option of a plan; the one of before if its stages take as long as then."""
        place = (number, boundary, known)
        if place not in self._device_ways:
            self._device_ways[place] = self._device_way(number, boundary, known)
        stages, to_exit = self._device_ways[place]
        device_s, exit_device_s = self._times.p50_s(*stages), self._times.p50_s(*to_exit)
        option = self._offloads.get(place)
        if option is None or (option.device_s, option.exit_device_s) != (device_s, exit_device_s):
            option = self._make_offload(number, known, device_s, exit_device_s)
            self._offloads[place] = option
        return option

    def _device_way(self, number: int, boundary: int, known: Known) -> DeviceWay:
        plan = self._offload_plans[number]
        cut = self._cut[plan.path]
        stages: list[Stage] = [Prepare()] if boundary == NOT_PREPARED else []
        if max(boundary, 0) < cut:
            stages.append(RunSegments(max(boundary, 0), cut))
        done = {exit_id for exit_id, _ in known}
        tried = [step.exit for step in plan.exits if step.exit not in done]
        stages += [RunExit(exit_id) for exit_id in tried]
        stages.append(Encode(plan.path, plan.level))
        return tuple(stages), self._way(boundary, tried[0]) if tried else ()

    def _make_offload(
        self, number: int, known: Known, device_s: float, exit_device_s: float
    ) -> Option:
        plan = self._offload_plans[number]
        expected = self._statistics(plan, known)
        return Option(
            kind=OptionKind.OFFLOAD,
            plan=plan,
            exit=None,
            accuracy=expected.accuracy,
            device_s=device_s,
            cloud_s=self.cloud_run_s(plan.path, plan.level),
            uplink_bytes=expected.uplink_bytes,
            downlink_bytes=self._reply_bytes,
            exit_share=expected.exit_share,
            exit_device_s=exit_device_s,
        )

    def _statistics(self, plan: Plan, known: Known) -> Expected:
        """Return what the matching rows say of `plan`, exits on its way included."""
        if (plan, known) not in self._expected:
            self._expected[plan, known] = self._compute(plan, known)
        return self._expected[plan, known]

    def _compute(self, plan: Plan, known: Known) -> Expected:
        rows = self._rows(known)
        if plan.path == DEVICE:
            reference = Plan(self._reference, 0, plan.exits)
            mean = self._table.plan_statistics(reference, rows)
            return Expected(mean.accuracy, 0, mean.exit_share)
        mean = self._table.plan_statistics(plan, rows)
        sent_share = 1.0 - mean.exit_share
        sent_bytes = mean.bytes / sent_share if sent_share else mean.bytes
        return Expected(mean.accuracy, round(sent_bytes), mean.exit_share)

    def _exit_score(self, exit_id: str, known: Known) -> float:
        if (exit_id, known) not in self._exit_scores:
            score = self._table.mean_exit_score(exit_id, self._rows(known))
            self._exit_scores[exit_id, known] = score
        return self._exit_scores[exit_id, known]

    def _rows(self, known: Known) -> Mask | None:
        """Return the rows on which the exits said the same, ``None`` (all) if they are too few."""
        rows = np.ones(len(self._table), dtype=np.bool_)
        for exit_id, passed in known:
            rows &= self._table.exit_passed(exit_id, self.exits[exit_id].threshold) == passed
        return rows if rows.sum() >= MIN_ROWS else None


def _cloud_profile(bundle: Bundle) -> Profile:
    """Return the profile that cloud times are predicted from: the one made by the build."""
    return bundle.advice.profiles[0] if bundle.advice.profiles else Profile("unknown", {})
