"""The feasible continuations of a request, priced from profile and sample table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple, TypeAlias

from splitnet.bundle import Bundle, ExitHead
from splitnet.machines.agent_io import (
    NOT_PREPARED,
    PREPARE,
    LocalResult,
    Stage,
    encode,
    run_exit,
)
from splitnet.machines.expectations import Expectations, Known
from splitnet.machines.pruning import undominated
from splitnet.machines.request import Request
from splitnet.machines.runs import DeviceRuns
from splitnet.machines.stage_times import StageTimes
from splitnet.values import (
    DEVICE,
    SKIP,
    ExitStep,
    Option,
    OptionKind,
    Plan,
    Profile,
    decode_stage,
    segment_stage,
)

Way: TypeAlias = tuple[Stage, ...]
"""Stages on the device, one after the other."""


@dataclass(slots=True)
class Priced:
    """An option with its latest price, and what that is the price of.

    Attributes
    ----------
    way
        Until the answer, or until the payload is ready.
    to_exit
        Until the next exit of the plan's rule.
    """

    option: Option
    way: Way
    to_exit: Way = ()


class LocalWay(NamedTuple):
    """A way to an answer on the device: its cautious time, and the options that take it."""

    p95_s: float
    options: tuple[Option, ...]


class Ways(NamedTuple):
    """The ways on from a boundary: to the cloud and on the device, the shortest first."""

    offload: tuple[Option, ...]
    local: tuple[LocalWay, ...]

    def local_within(self, time_s: float, at_least_one: bool) -> list[Option]:
        """Return the options on the device that take no longer than `time_s`."""
        options: list[Option] = []
        for p95_s, way in self.local:
            if p95_s <= time_s or (at_least_one and not options):
                options += way
        return options


class OptionBook:
    """Lists the options of a request at any point of its way."""

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        contract = bundle.contract
        self._contract = contract
        self._times = times
        self._cloud = _cloud_profile(bundle)
        self.heads: dict[str, ExitHead] = {head.id: head for head in bundle.advice.heads}
        self.exits = {name: head for name, head in self.heads.items() if name != SKIP}
        self.end = len(contract.segments)
        self.runs = DeviceRuns(bundle)
        self._expectations = Expectations(bundle, self.heads)
        self._cut = {path.id: path.hops[0].boundary for path in contract.paths}
        self._hidden = {path for path, cut in self._cut.items() if self.runs.hides(cut)}
        self._exact = {path.id for path in contract.paths if path.kind == "exact"}
        sizes = bundle.advice.sizes
        self._reply_bytes = sum(spec.sample_bytes(sizes) for spec in contract.answers)
        rule = tuple(ExitStep(h.id, h.confidence, h.threshold) for h in self.heads.values())
        self._rule = rule
        self._offload_plans = bundle.advice.plans
        self._local_plans = (Plan(DEVICE, 0), Plan(DEVICE, 0, rule)) if rule else (Plan(DEVICE, 0),)
        self._offloads: dict[tuple[int, Known], tuple[Priced, ...]] = {}
        self._locals: dict[tuple[int, Known], tuple[tuple[Priced, ...], ...]] = {}
        self._answers: dict[tuple[str, Known], Option] = {}
        self._cloud_s: dict[tuple[str, int], float] = {}
        self._ways: dict[tuple[int, Known], Ways] = {}
        self._offers: dict[tuple[int, Known, frozenset[str]], tuple[Option, ...]] = {}
        self._fallback_s: dict[tuple[int, bool], float] = {}
        self._priced_version = times.version

    def keys(self) -> list[str]:
        """Return the name of every option that a policy may be told to follow."""
        return [option.key for option in self.all_options()]

    def all_options(self, boundary: int = NOT_PREPARED, known: Known = ()) -> tuple[Option, ...]:
        """Return every way on from `boundary`, also those that others beat on this device."""
        ways = self._ways_from(boundary, known)
        return (*ways.offload, *ways.local_within(inf, at_least_one=True))

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Offer only those plans to the cloud whose names are `wanted`."""
        self._offload_plans = tuple(plan for plan in self._offload_plans if wanted(plan.key))
        self._offloads.clear()
        self._ways.clear()
        self._offers.clear()

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

        A plan is offered if its path is among `usable_paths` and no other one of them is better
        in all that counts (`undominated`); a local way if time allows, the shortest one in any
        case, unless an exit has answered already.
        """
        known = self._known(request)
        ways = self._ways_from(request.boundary, known)
        place = request.boundary, known, frozenset(usable_paths)
        offers = self._offers.get(place)
        if offers is None:
            paths = self._without_hidden(usable_paths)
            usable = [option for option in ways.offload if option.plan.path in paths]
            offers = self._offers[place] = undominated(usable)
        options = list(offers)
        if request.results:
            answer = self._answer(request, known, bool(options))
            if answer is not None:
                options.insert(0, answer)
        time_s = inf if remaining_s is None else remaining_s
        return options + ways.local_within(time_s, at_least_one=not request.results)

    def _without_hidden(self, usable_paths: Set[str]) -> Set[str]:
        """Leave out the paths inside fused runs, unless one that may beat them is not served."""
        return usable_paths - self._hidden if usable_paths >= self._exact else usable_paths

    def fallback(self, boundary: int, live: bool) -> Way:
        """Return the way from `boundary` to the local answer that a request is promised.

        A live request has no time to lose and takes the first exit, a deferred one the whole
        network.
        """
        return self._way(boundary, next(iter(self.exits), None) if live else None)

    def fallback_s(self, boundary: int, live: bool) -> float:
        """Return the 95th percentile of the time that `fallback` takes."""
        if self._priced_version != self._times.version:
            self._forget_prices()
        found = self._fallback_s.get((boundary, live))
        if found is None:
            found = self._times.p95_s(*self.fallback(boundary, live))
            self._fallback_s[boundary, live] = found
        return found

    # --- what an exit has said ------------------------------------------------------------------

    def hear(self, request: Request, exit_id: str | None, result: LocalResult) -> bool:
        """Note what an exit, or the end of the network, says; whether that is an answer.

        All of them answer, but a prefilter that is not sure that there is nothing of interest.
        """
        request.heard[exit_id] = result
        if exit_id == SKIP and result.confidence < self.heads[SKIP].threshold:
            return False
        request.results[exit_id] = result
        return True

    def _known(self, request: Request) -> Known:
        heard = request.heard
        if not heard:
            return ()
        return tuple(
            [
                (exit_id, heard[exit_id].confidence >= head.threshold)
                for exit_id, head in self.heads.items()
                if exit_id in heard
            ]
        )

    def _answer(self, request: Request, known: Known, can_offload: bool) -> Option | None:
        """Answer with the last exit: it is sure enough, nothing can be sent, or a path refused.

        Where the plan has no rule, the answer names the same plan with one.
        """
        exit_id, passed = next(entry for entry in reversed(known) if entry[0] in self.exits)
        option = request.decision.option
        confidence = request.results[exit_id].confidence
        met = any(s.exit == exit_id and confidence >= s.threshold for s in option.plan.exits)
        if not (met or passed or request.refused) and can_offload:
            return None
        if (option.key, known) not in self._answers:
            plan = option.plan
            self._answers[option.key, known] = Option(
                kind=OptionKind.ANSWER,
                plan=replace(plan, exits=plan.exits or self._rule) if passed else plan,
                exit=exit_id,
                accuracy=self._expectations.of_exit(exit_id, known),
                device_s=0.0,
            )
        return self._answers[option.key, known]

    # --- ways and prices ------------------------------------------------------------------------

    def _ways_from(self, boundary: int, known: Known) -> Ways:
        """Return the ways from `boundary`, priced anew only when a stage's time has changed."""
        if self._priced_version != self._times.version:
            self._forget_prices()
        ways = self._ways.get((boundary, known))
        if ways is None:
            ways = self._ways[boundary, known] = self._price(boundary, known)
        return ways

    def _forget_prices(self) -> None:
        self._priced_version = self._times.version
        self._ways.clear()
        self._offers.clear()
        self._fallback_s.clear()

    def _price(self, boundary: int, known: Known) -> Ways:
        place = boundary, known
        if place not in self._offloads:
            self._offloads[place] = tuple(self._offload(boundary, known))
        if place not in self._locals:
            self._locals[place] = tuple(self._local(boundary, known))
        return Ways(
            tuple(self._priced(entry) for entry in self._offloads[place]),
            tuple(
                LocalWay(self._times.p95_s(*way[0].way), tuple(self._priced(e) for e in way))
                for way in self._locals[place]
            ),
        )

    def _priced(self, entry: Priced) -> Option:
        """Return the option of `entry` at the price of the moment."""
        device_s = self._times.p50_s(*entry.way)
        exit_device_s = self._times.p50_s(*entry.to_exit)
        option = entry.option
        if (option.device_s, option.exit_device_s) != (device_s, exit_device_s):
            entry.option = replace(option, device_s=device_s, exit_device_s=exit_device_s)
        return entry.option

    def _offload(self, boundary: int, known: Known) -> Iterator[Priced]:
        """Yield the option of each plan to the cloud."""
        for plan in self._offload_plans:
            cut = self._cut[plan.path]
            stages: list[Stage] = [PREPARE] if boundary == NOT_PREPARED else []
            stages += self.runs.between(max(boundary, 0), cut)
            stages += [run_exit(exit_id) for exit_id in _next_exits(plan, known)]
            stages.append(encode(plan.path, plan.level))
            expected = self._expectations.of_plan(_ahead(plan, known), known)
            option = Option(
                kind=OptionKind.OFFLOAD,
                plan=plan,
                exit=None,
                accuracy=expected.accuracy,
                device_s=0.0,
                cloud_s=self.cloud_run_s(plan.path, plan.level),
                uplink_bytes=expected.uplink_bytes,
                downlink_bytes=self._reply_bytes,
                exit_share=expected.exit_share,
                replies=expected.replies,
            )
            yield Priced(option, tuple(stages), self._to_exit(plan, boundary, known))

    def _local(self, boundary: int, known: Known) -> Iterator[tuple[Priced, ...]]:
        """Yield the options of each way to an answer on the device, the shortest way first."""
        done = {exit_id for exit_id, _ in known}
        for exit_id in self.exits:
            if exit_id not in done:
                accuracy = self._expectations.of_exit(exit_id, known)
                option = Option(OptionKind.LOCAL, Plan(DEVICE, 0), exit_id, accuracy, 0.0)
                yield (Priced(option, self._way(boundary, exit_id)),)
        way = self._way(boundary, None)
        yield tuple(
            Priced(self._to_the_end(plan, known), way, self._to_exit(plan, boundary, known))
            for plan in self._local_plans
        )

    def _to_the_end(self, plan: Plan, known: Known) -> Option:
        expected = self._expectations.of_plan(_ahead(plan, known), known)
        return Option(
            kind=OptionKind.LOCAL,
            plan=plan,
            exit=None,
            accuracy=expected.accuracy,
            device_s=0.0,
            exit_share=expected.exit_share,
        )

    def _to_exit(self, plan: Plan, boundary: int, known: Known) -> Way:
        """Return the way to the next exit of the plan's rule, nothing if there is none."""
        exits = _next_exits(plan, known)
        return self._way(boundary, exits[0]) if exits else ()

    def _way(self, boundary: int, exit_id: str | None) -> Way:
        """Return the stages from `boundary` to an exit or to the end of the network."""
        stop = self.end if exit_id is None else self.heads[exit_id].boundary
        stages: list[Stage] = [PREPARE] if boundary == NOT_PREPARED else []
        stages += self.runs.between(max(boundary, 0), stop)
        return (*stages, run_exit(exit_id)) if exit_id is not None else tuple(stages)


def _ahead(plan: Plan, known: Known) -> Plan:
    """Return the plan without the exits that have been run: who goes on has not left there."""
    done = {exit_id for exit_id, _ in known}
    return replace(plan, exits=tuple(step for step in plan.exits if step.exit not in done))


def _next_exits(plan: Plan, known: Known) -> list[str]:
    """Return the exits of a plan's rule that have not been run."""
    return [step.exit for step in _ahead(plan, known).exits]


def _cloud_profile(bundle: Bundle) -> Profile:
    """Return the profile that cloud times are predicted from: the one made by the build."""
    return bundle.advice.profiles[0] if bundle.advice.profiles else Profile("unknown", {})
