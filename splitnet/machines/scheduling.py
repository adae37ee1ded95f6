"""What the device does next: one stage at a time, no promise broken.

The device cannot be interrupted (an onnxruntime call runs to its end), so a stage is started only
if every live request can still get its local answer afterwards (`splitnet.machines.promises`).
"""

from __future__ import annotations

from collections.abc import Iterable

from splitnet.machines.agent_io import (
    PREPARE,
    Prepare,
    RunExit,
    RunSegments,
    RunStage,
    Stage,
    encode,
    run_exit,
    run_segments,
)
from splitnet.machines.options import OptionBook
from splitnet.machines.promises import Promise, slack_s
from splitnet.machines.request import NOT_PREPARED, Request
from splitnet.machines.stage_times import StageTimes
from splitnet.values import OptionKind


class DeviceSchedule:
    """Knows the stage under way, and answers what to run next and whether it may start now."""

    def __init__(self, book: OptionBook, times: StageTimes, rescue_margin_s: float) -> None:
        self._book = book
        self._times = times
        self._margin_s = rescue_margin_s
        self._job: RunStage | None = None
        self._last_job = 0

    @property
    def busy(self) -> bool:
        """Whether a stage is under way."""
        return self._job is not None

    def works_on(self, request: Request) -> bool:
        """Whether the stage under way is one of `request`."""
        return self._job is not None and self._job.request == request.id

    def start(self, request: Request, stage: Stage) -> RunStage:
        """Occupy the device with a stage of `request`."""
        assert self._job is None
        self._last_job += 1
        expected_s = self._times.of(stage).p50_s
        self._job = RunStage(self._last_job, request.id, request.frame, stage, expected_s)
        return self._job

    def end(self, job: int, duration_s: float | None) -> RunStage | None:
        """Free the device and learn how long the stage took; ``None`` if `job` is not under way."""
        if self._job is None or self._job.job != job:
            return None
        ended, self._job = self._job, None
        if duration_s is not None:
            self._times.observe(ended.stage, duration_s)
        return ended

    def next_stage(self, request: Request) -> Stage | None:
        """Return the next stage on the way chosen, ``None`` if nothing is left for the device."""
        option = request.decision.option
        if request.boundary == NOT_PREPARED:
            return PREPARE
        if option.kind is OptionKind.OFFLOAD:
            stop = self._book.cut(option.plan.path)
        else:
            stop = self._book.end if option.exit is None else self._book.exits[option.exit].boundary
        for exit_id, head in self._book.exits.items():
            if head.boundary <= stop and self._wants(request, exit_id):
                if head.boundary <= request.boundary:
                    return run_exit(exit_id)
                return run_segments(request.boundary, head.boundary)
        if request.boundary < stop:
            return run_segments(request.boundary, stop)
        plan = option.plan
        if option.kind is OptionKind.OFFLOAD and request.encoded_for != (plan.path, plan.level):
            return encode(plan.path, plan.level)
        return None

    def _wants(self, request: Request, exit_id: str) -> bool:
        """Return whether an exit is to be run: the plan's rule, its answer, or the fallback."""
        if exit_id in request.results:
            return False
        option = request.decision.option
        if exit_id == option.exit or any(step.exit == exit_id for step in option.plan.exits):
            return True
        return request.live and not request.results

    def fits(self, stage: Stage, request: Request, others: Iterable[Request], now_s: float) -> bool:
        """Return whether every promise can be kept if `stage` of `request` starts now."""
        promises = self._promises(other for other in others if other is not request)
        if not (request.results or request.failure or isinstance(stage, RunExit)):
            boundary = request.boundary
            if isinstance(stage, Prepare):
                boundary = 0
            elif isinstance(stage, RunSegments):
                boundary = max(boundary, stage.stop)
            cost_s = self._book.fallback_s(boundary, request.live)
            promises.append(Promise(request.due_s, request.id, cost_s))
        return slack_s(promises, now_s + self._times.of(stage).p95_s) >= 0

    def rescue(
        self, requests: Iterable[Request], now_s: float, *, at_once: bool
    ) -> tuple[int, Stage] | None:
        """Return the request whose promise must be worked on now, and its next stage.

        With `at_once` the promise due first is worked on even if there is still time, since other
        work waits behind it.
        """
        promises = self._promises(requests)
        if not promises or not (at_once or now_s >= slack_s(promises, 0.0) - self._margin_s):
            return None
        urgent = min(promises).request
        request = next(request for request in requests if request.id == urgent)
        return urgent, self._book.fallback(request.boundary, request.live)[0]

    def rescue_at_s(self, requests: Iterable[Request]) -> float:
        """Return when the next promise must be worked on if the device stays free."""
        return slack_s(self._promises(requests), 0.0) - self._margin_s

    def _promises(self, requests: Iterable[Request]) -> list[Promise]:
        return [
            Promise(r.due_s, r.id, self._book.fallback_s(r.boundary, r.live))
            for r in requests
            if not (r.results or r.failure)
        ]
