"""What the device does next: stages up to the next decision, no promise broken.

The device cannot be interrupted (an onnxruntime call runs to its end), so stages are started only
if every live request can still get its local answer afterwards (`splitnet.machines.promises`).
Where a row of them would break a promise, its first stage may still be possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from splitnet.machines.agent_io import (
    NOT_PREPARED,
    PREPARE,
    RunExit,
    RunStages,
    Stage,
    encode,
    run_exit,
)
from splitnet.machines.options import OptionBook
from splitnet.machines.promises import Promise, slack_s
from splitnet.machines.request import Request
from splitnet.machines.stage_times import StageTimes
from splitnet.values import Option, OptionKind

Stages: TypeAlias = tuple[Stage, ...]

Place: TypeAlias = tuple[str, int, tuple[str | None, ...], bool, bool]
"""Option, boundary, exits that have been run, whether the payload is there, whether it is live."""


class DeviceSchedule:
    """Knows the job under way, and answers what to run next and whether it may start now.

    `busy` says whether a job is under way.
    """

    def __init__(self, book: OptionBook, times: StageTimes, rescue_margin_s: float) -> None:
        self._book = book
        self._times = times
        self._margin_s = rescue_margin_s
        self._job: RunStages | None = None
        self._last_job = 0
        self.busy = False
        self._next: dict[Place, Stages] = {}

    def works_on(self, request: Request) -> bool:
        """Whether the job under way is one of `request`."""
        return self._job is not None and self._job.request == request.id

    def start(self, request: Request, stages: Stages) -> RunStages:
        """Occupy the device with stages of `request`."""
        assert not self.busy
        self.busy = True
        self._last_job += 1
        expected_s = self._times.p50_s(*stages)
        self._job = RunStages(self._last_job, request.id, request.frame, stages, expected_s)
        return self._job

    def end(self, job: int, durations_s: Sequence[float]) -> RunStages | None:
        """Free the device and learn how long stages took; ``None`` if `job` is not under way."""
        if self._job is None or self._job.job != job:
            return None
        ended, self._job = self._job, None
        self.busy = False
        for stage, duration_s in zip(ended.stages, durations_s, strict=False):
            self._times.observe(stage, duration_s)
        return ended

    def next_stages(self, request: Request) -> Stages:
        """Return the stages up to the next decision, none if nothing is left for the device."""
        option = request.decision.option
        plan = option.plan
        encoded = request.encoded_for == (plan.path, plan.level)
        place = option.key, request.boundary, tuple(request.heard), encoded, request.live
        stages = self._next.get(place)
        if stages is None:
            stages = self._next[place] = tuple(self._ahead(option, request, encoded))
        return stages

    def _ahead(self, option: Option, request: Request, encoded: bool) -> Iterator[Stage]:
        """Yield the stages of an option from where a request is, up to an answer or a payload."""
        boundary = request.boundary
        if boundary == NOT_PREPARED:
            yield PREPARE
            boundary = 0
        if option.kind is OptionKind.OFFLOAD:
            stop = self._book.cut(option.plan.path)
        else:
            stop = self._book.end if option.exit is None else self._book.exits[option.exit].boundary
        for exit_id, head in self._book.heads.items():
            if head.boundary <= stop and self._wants(option, request, exit_id):
                yield from self._book.runs.between(boundary, head.boundary)
                yield run_exit(exit_id)
                return
        yield from self._book.runs.between(boundary, stop)
        if option.kind is OptionKind.OFFLOAD and not encoded:
            yield encode(option.plan.path, option.plan.level)

    def _wants(self, option: Option, request: Request, exit_id: str) -> bool:
        """Return whether an exit is to be run: the plan's rule, its answer, or the fallback."""
        if exit_id in request.heard:
            return False
        if exit_id == option.exit or any(step.exit == exit_id for step in option.plan.exits):
            return True
        return request.live and not request.results and run_exit(exit_id).answers

    def fitting(
        self, stages: Stages, request: Request, others: Iterable[Request], now_s: float
    ) -> Stages:
        """Return as much of `stages` as may start now: all, else the first, else nothing.

        Every promise can still be kept behind it.
        """
        promises = self._promises(others, request)
        for part in (stages, stages[:1]):
            behind = promises + self._still_promised(request, part)
            if not behind or slack_s(behind, now_s + self._times.p95_s(*part)) >= 0:
                return part
        return ()

    def _still_promised(self, request: Request, stages: Stages) -> list[Promise]:
        """Return what is left of the promise to a request behind `stages` of it."""
        last = stages[-1]
        if request.provided or (isinstance(last, RunExit) and last.answers):
            return []
        boundary = max(request.boundary, *[stage.reaches for stage in stages])
        cost_s = self._book.fallback_s(boundary, request.live)
        return [Promise(request.due_s, request.id, cost_s)]

    def rescue(
        self, requests: Iterable[Request], now_s: float, *, at_once: bool
    ) -> tuple[int, Stages] | None:
        """Return the request whose promise must be worked on now, and its next stages.

        With `at_once` the promise due first is worked on even if there is still time, since other
        work waits behind it.
        """
        promises = self._promises(requests)
        if not promises or not (at_once or now_s >= slack_s(promises, 0.0) - self._margin_s):
            return None
        urgent = min(promises).request
        request = next(request for request in requests if request.id == urgent)
        return urgent, self._book.fallback(request.boundary, request.live)[:1]

    def rescue_at_s(self, requests: Iterable[Request]) -> float:
        """Return when the next promise must be worked on if the device stays free."""
        return slack_s(self._promises(requests), 0.0) - self._margin_s

    def _promises(
        self, requests: Iterable[Request], without: Request | None = None
    ) -> list[Promise]:
        return [
            Promise(r.due_s, r.id, self._book.fallback_s(r.boundary, r.live))
            for r in requests
            if not (r.provided or r is without)
        ]
