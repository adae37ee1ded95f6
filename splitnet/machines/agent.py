"""The agent machine: from a frame to exactly one answer, by the deadline if there is one.

It decides; a driver does. See `splitnet.machines.agent_io` for what goes in and out,
`splitnet.machines.scheduling` for what the device does next, `splitnet.machines.deciding` for how
the policy is asked, and `splitnet.machines.link` for the connection.
"""

from __future__ import annotations

from collections import Counter, deque

from splitnet.bundle import Bundle
from splitnet.errors import WireCode
from splitnet.machines.agent_config import AgentConfig
from splitnet.machines.agent_io import (
    NOT_PREPARED,
    PREPARE,
    AgentAction,
    AgentEvent,
    CloudResult,
    Drain,
    DropFrame,
    Encode,
    Encoded,
    Finished,
    FrameArrived,
    Garbled,
    LinkDown,
    LinkFigures,
    LinkUp,
    LocalResult,
    Received,
    Release,
    Report,
    RunExit,
    RunStages,
    Send,
    StagesDone,
    StagesFailed,
    Tick,
)
from splitnet.machines.answering import is_late, make_answer, outcome
from splitnet.machines.deciding import Decider
from splitnet.machines.drift import DriftMonitor
from splitnet.machines.link import Link
from splitnet.machines.options import OptionBook
from splitnet.machines.request import Request
from splitnet.machines.scheduling import DeviceSchedule
from splitnet.machines.sending import MAX_ATTEMPTS, Sender, is_ready
from splitnet.machines.stage_times import StageTimes
from splitnet.machines.stopping import Verdict, judge
from splitnet.policies.base import Policy
from splitnet.values import DecisionPoint, OptionKind, Profile, Telemetry
from splitnet.wire import CancelAck, Error, Pong, Reply, size

__all__ = ["AgentConfig", "AgentMachine"]

BUSY = frozenset({WireCode.OVERLOAD, WireCode.DRAINING})
"""Refusals that end by themselves: a deferred request is sent again until it expires."""


class AgentMachine:
    """Decides for every request what runs where."""

    def __init__(
        self, bundle: Bundle, profile: Profile, policy: Policy, config: AgentConfig
    ) -> None:
        self._config = config
        times = StageTimes(profile)
        self._book = OptionBook(bundle, times)
        self._schedule = DeviceSchedule(self._book, times, config.rescue_margin_s)
        paths = bundle.contract.paths
        numbers = {path.id: number for number, path in enumerate(paths)}
        self._entry = {path.id: path.hops[0].entry for path in paths}
        hashes = tuple(bundle.contract.path_hash(path.id) for path in paths)
        self._link = Link(hashes, config.link)
        self._decider = Decider(self._book, policy, self._link, numbers)
        self._sender = Sender(self._link, self._decider, numbers, self._book.end)
        self._drift = DriftMonitor(bundle)
        self._frames: deque[FrameArrived] = deque()
        self._requests: dict[int, Request] = {}
        self._last_request = 0
        self._draining = False
        self._finished = False
        self._out: list[AgentAction] = []
        self._link_due_s = self._link.wakeup_s
        self._timer_late_s = 0.0
        self.counters: Counter[str] = Counter()

    # --- what a driver asks ---------------------------------------------------------------------

    @property
    def first_answer_s(self) -> float:
        """95th percentile of the shortest way from a frame to a local answer."""
        return self._book.fallback_s(NOT_PREPARED, self._config.deadline_s is not None)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not (self._frames or self._requests or self._schedule.busy)

    @property
    def wants_frame(self) -> bool:
        """Whether a source that is pulled should produce its next frame now."""
        return not (self._draining or self._frames or self._full)

    @property
    def link_ready(self) -> bool:
        """Whether a session with the worker is open."""
        return self._link.ready

    @property
    def wakeup_s(self) -> float | None:
        """When to send the next `Tick`, ``None`` if there is nothing to wait for."""
        if self._finished:
            return None
        requests = self._requests.values()
        wakeup_s = self._link_due_s
        for request in requests:
            if request.due_s < wakeup_s and request.provided:
                wakeup_s = request.due_s
            if request.retry_s is not None and self._link.ready:
                wakeup_s = min(wakeup_s, request.retry_s)
        if requests and not self._schedule.busy:
            wakeup_s = min(wakeup_s, self._schedule.rescue_at_s(requests))
        return wakeup_s

    def telemetry(self, now_s: float) -> Telemetry:
        """Return what is known of link and cloud now."""
        return self._decider.telemetry(now_s)

    @property
    def _full(self) -> bool:
        return len(self._requests) >= self._config.max_inflight

    # --- events ---------------------------------------------------------------------------------

    def handle(self, event: AgentEvent, now_s: float) -> list[AgentAction]:
        """Take one event at `now_s` and return what to do, in order."""
        if self._finished:
            return []
        self._out = []
        self._timer_late_s = event.late_s if isinstance(event, Tick) else 0.0
        if isinstance(event, FrameArrived):
            self._on_frame(event)
        elif isinstance(event, StagesDone):
            self._on_stages_done(event, now_s)
        elif isinstance(event, StagesFailed):
            self._on_stages_failed(event, now_s)
        elif isinstance(event, Received):
            self._on_message(event, now_s)
        elif isinstance(event, LinkUp):
            self._out += self._link.on_up(now_s)
        elif isinstance(event, LinkDown):
            self._out += self._link.fail(event.reason, now_s)
        elif isinstance(event, LinkFigures):
            self._link.figures = event if self._link.ready else None
        elif isinstance(event, Garbled):
            self.counters["garbled"] += 1
            self._out += self._link.fail(f"not a message: {event.reason}", now_s, patient=True)
        elif isinstance(event, Drain):
            self._on_drain(now_s)
        if now_s >= self._link_due_s:
            self._out += self._link.on_tick(now_s)
        connected = self._link.ready
        if not connected:
            self._recall_unsent(now_s)
        self._hand_over_due(now_s)
        if connected:
            self._send_ready(now_s)
        if not self._schedule.busy:
            self._use_device(now_s)
        if self._draining and self.idle:
            self._finished = True
            self._out += [*self._link.close("the agent is done"), Finished()]
        self._link_due_s = self._link.wakeup_s
        return self._out

    def _on_frame(self, event: FrameArrived) -> None:
        if self._draining:
            self._drop(event, "draining")
            return
        self._frames.append(event)
        while len(self._frames) > self._config.queue_frames:
            self._drop(self._frames.popleft(), "a newer frame came")

    def _drop(self, frame: FrameArrived, reason: str) -> None:
        self.counters["dropped_frames"] += 1
        self._out.append(DropFrame(frame.frame, reason))

    def _on_drain(self, now_s: float) -> None:
        """Admit nothing more; deferred requests do not wait for the cloud much longer."""
        self._draining = True
        while self._frames:
            self._drop(self._frames.popleft(), "draining")
        for request in self._requests.values():
            request.due_s = min(request.due_s, now_s + self._config.drain_s)

    # --- device ---------------------------------------------------------------------------------

    def _end_job(
        self, job: int, durations_s: tuple[float, ...]
    ) -> tuple[RunStages, Request] | None:
        """Free the device; return the job that ended and its request if it is still open."""
        ended = self._schedule.end(job, durations_s)
        if ended is None:
            return None
        request = self._requests.get(ended.request)
        if request is None:
            self._out.append(Release(ended.request))
            return None
        for stage, duration_s in zip(ended.stages, durations_s, strict=False):
            request.passed(stage, duration_s)
        return ended, request

    def _on_stages_done(self, event: StagesDone, now_s: float) -> None:
        ended = self._end_job(event.job, event.durations_s)
        if ended is None:
            return
        last, request = ended[0].stages[-1], ended[1]
        if isinstance(last, Encode):
            assert isinstance(event.outcome, Encoded)
            request.encoded = event.outcome
            request.encoded_for = (last.path, last.level)
        elif isinstance(event.outcome, LocalResult):
            exit_id = last.exit if isinstance(last, RunExit) else None
            self._on_local_result(request, exit_id, event.outcome, now_s)

    def _on_local_result(
        self, request: Request, exit_id: str | None, result: LocalResult, now_s: float
    ) -> None:
        drift = exit_id and self._drift.add(exit_id, result.confidence, request.heard)
        if drift:
            self.counters["drifts"] += 1
            self._out.append(Report("drift", str(drift), warning=True))
        if not self._book.hear(request, exit_id, result):
            return
        if request.ends_with(exit_id):
            self._answer_locally(request, request.decision.reason, now_s)
        elif not request.sent:
            self._choose(DecisionPoint.EXIT, request, now_s)

    def _on_stages_failed(self, event: StagesFailed, now_s: float) -> None:
        ended = self._end_job(event.job, event.durations_s)
        self.counters["failed_stages"] += 1
        if ended is None:
            return
        failed, request = ended[0].stages[len(event.durations_s)], ended[1]
        if request.sent:
            request.failure = event.message  # the cloud may still answer
        elif isinstance(failed, Encode):
            self._out.append(Report("not-encoded", event.message, warning=True))
            self._refuse_path(request, now_s)
        elif request.results:
            self._answer_locally(request, f"a later stage failed: {event.message}", now_s)
        else:
            self._deliver(request, None, "a stage failed", now_s, error=event.message)

    def _use_device(self, now_s: float) -> None:
        """Start a job on the device, which is free: begun requests first, then a new frame."""
        requests = self._requests.values()
        blocked = False
        for request in requests:
            stages = self._schedule.next_stages(request)
            if stages:
                stages = self._schedule.fitting(stages, request, requests, now_s)
                if stages:
                    self._out.append(self._schedule.start(request, stages))
                    return
                blocked = True
        admitted = self._admit(now_s)
        if admitted is not None:
            stages = self._schedule.next_stages(admitted)
            stages = self._schedule.fitting(stages, admitted, requests, now_s)
            self._out.append(self._schedule.start(admitted, stages))
            return
        blocked = blocked or (bool(self._frames) and not self._full)
        rescue = self._schedule.rescue(requests, now_s, at_once=blocked)
        if rescue is not None:
            request = self._requests[rescue[0]]
            request.timer_late_s = max(request.timer_late_s, self._timer_late_s)
            self._out.append(self._schedule.start(request, rescue[1]))

    # --- admission and decisions ----------------------------------------------------------------

    def _admit(self, now_s: float) -> Request | None:
        """Turn the oldest frame that can still be answered in time into a request."""
        deadline_s = self._config.deadline_s
        patience_s = self._config.expiry_s if deadline_s is None else deadline_s
        while self._frames and not self._full:
            frame = self._frames[0]
            due_s = frame.arrived_s + patience_s - self._config.guard_s
            if now_s + self.first_answer_s > due_s:
                self._drop(self._frames.popleft(), "too late for any answer")
                continue
            request = Request(
                id=self._last_request + 1,
                frame=frame.frame,
                arrived_s=frame.arrived_s,
                due_s=due_s,
                deadline_s=None if deadline_s is None else frame.arrived_s + deadline_s,
            )
            others = self._requests.values()
            if others and not self._schedule.fitting((PREPARE,), request, others, now_s):
                return None
            self._frames.popleft()
            self._last_request = request.id
            request.decision = self._decider.decide(DecisionPoint.ADMISSION, request, now_s)
            self.counters["admitted"] += 1
            self._requests[request.id] = request
            return request
        return None

    def _choose(self, point: DecisionPoint, request: Request, now_s: float) -> None:
        """Ask the policy again for a request under way; an answer ends it."""
        before = request.decision.option.key
        request.decision = self._decider.decide(point, request, now_s)
        if request.decision.option.kind is OptionKind.ANSWER:
            self._answer_locally(request, request.decision.reason, now_s)
        elif request.decision.option.key != before:
            self.counters["changed_decisions"] += 1

    # --- cloud ----------------------------------------------------------------------------------

    def _send_ready(self, now_s: float) -> None:
        """Send what is encoded, in order of admission, as far as credit and window go."""
        sender = self._sender
        for request in sender.ready(self._requests.values(), now_s):
            if not sender.takes(request):
                self._refuse_path(request, now_s)
            elif not sender.has_credit(request):
                self.counters["waits_for_credit"] += not request.starved
                request.starved = True
                break
            elif self._still_sends(request, now_s):
                sender.put(request, now_s)
        self._out += sender.pump(self._requests, now_s)

    def _still_sends(self, request: Request, now_s: float) -> bool:
        """If the request had to wait for credit, ask the policy once more."""
        if request.starved:
            request.starved = False
            self._choose(DecisionPoint.CREDIT, request, now_s)
        return request.id in self._requests and is_ready(request)

    def _on_message(self, event: Received, now_s: float) -> None:
        message = event.message
        self._link.heard(now_s)
        if isinstance(message, Reply):
            self._on_reply(message, event.confidence, now_s)
        elif isinstance(message, Error) and message.request:
            self._on_refusal(message, now_s)
        elif not isinstance(message, CancelAck):
            if isinstance(message, Pong):
                self._decider.on_pong(message, now_s)
            self._out += self._link.on_message(message, now_s)

    def _on_reply(self, reply: Reply, confidence: float | None, now_s: float) -> None:
        request, uplink = self._requests.get(reply.request), self._link.uplink
        if uplink is not None:
            uplink.on_reply(reply.request, reply.refinements, now_s, reply.final)
        verdict = judge(reply, confidence, request)
        if verdict in (Verdict.LATE, Verdict.UNASKED, Verdict.DAMAGED):
            self.counters[verdict.value] += 1
        if request is None or verdict in (Verdict.LATE, Verdict.UNASKED):
            return
        if verdict is Verdict.DAMAGED:
            self._on_damage(request, now_s)
            return
        self._decider.on_reply(reply, request, now_s)
        self._out += self._link.follow_up(now_s)
        request.header_bytes += size(reply) - len(reply.payload)
        request.downlink_bytes += len(reply.payload)
        result = CloudResult(reply.payload, reply.dims, reply.refinements)
        if verdict is Verdict.FINAL:
            self._deliver(request, result, request.decision.reason, now_s)
            return
        request.provisional = result
        if verdict is Verdict.SURE:
            self.counters["stopped_early"] += 1
            self._answer_so_far(request, "sure enough to send no more", now_s)
        else:
            self.counters["partial_replies"] += 1
            self._sender.go_on(request)

    def _on_refusal(self, error: Error, now_s: float) -> None:
        code = error.code.name.lower()
        self.counters[f"refused_{code}"] += 1
        request = self._requests.get(error.request)
        if request is None or not request.sent:
            return
        detail = f"request={request.id} code={code} detail={error.detail!r}"
        self._out.append(Report("refused", detail, warning=True))
        if error.code is WireCode.NO_SESSION:
            self._out += self._link.fail("the worker forgot the session", now_s)
        elif request.provisional is not None:
            self._answer_so_far(request, f"the worker refused the rest: {code}", now_s)
        elif error.code in BUSY and not request.live:
            self._sender.send_again(request, error.retry_after_ms / 1000, now_s)
        elif error.code is WireCode.CORRUPT:
            self._on_damage(request, now_s)
        else:
            self._refuse_path(request, now_s)

    def _on_damage(self, request: Request, now_s: float) -> None:
        """Send a deferred request again, some times; a live one goes on without this path."""
        if request.provisional is not None:
            self._answer_so_far(request, "a better answer was damaged", now_s)
            return
        if request.one_by_one:  # the worker may wait for more of it
            self._out += map(Send, self._sender.withdraw(request))
        if not request.live and request.attempts < MAX_ATTEMPTS - 1:
            self._sender.send_again(request, 0.0, now_s)
        else:
            self._refuse_path(request, now_s)

    def _refuse_path(self, request: Request, now_s: float) -> None:
        self._sender.withdraw(request)
        request.sent = False
        request.refused.add(request.decision.option.plan.path)
        self._choose(DecisionPoint.REFUSAL, request, now_s)

    def _recall_unsent(self, now_s: float) -> None:
        """Nothing is under way, as there is no session: live requests are decided anew."""
        for request in list(self._requests.values()):
            if request.provisional is not None:
                self._answer_so_far(request, "the link broke before more of it came", now_s)
                continue
            request.sent = False
            offloading = request.decision.option.kind is OptionKind.OFFLOAD
            if request.live and request.failure and not request.results:
                self._deliver(request, None, "a stage failed", now_s, error=request.failure)
            elif request.live and offloading:
                self._choose(DecisionPoint.REFUSAL, request, now_s)

    # --- answers --------------------------------------------------------------------------------

    def _hand_over_due(self, now_s: float) -> None:
        """Answer every request that is due with the best that there is."""
        for request in [r for r in self._requests.values() if now_s >= r.due_s]:
            if request.provisional is not None:
                request.timer_late_s = max(request.timer_late_s, self._timer_late_s)
                self._answer_so_far(request, "no more of it came in time", now_s)
            elif request.failure and not request.results:
                self._deliver(request, None, "a stage failed", now_s, error=request.failure)
            elif request.results:
                request.timer_late_s = max(request.timer_late_s, self._timer_late_s)
                self.counters["fallback_answers"] += 1
                self._answer_locally(request, "no better answer came in time", now_s)

    def _answer_so_far(self, request: Request, reason: str, now_s: float) -> None:
        """Hand over what the cloud said to the refinements that it has."""
        self._deliver(request, request.provisional, reason, now_s)

    def _answer_locally(self, request: Request, reason: str, now_s: float) -> None:
        self._deliver(request, request.results[request.latest_exit], reason, now_s)

    def _deliver(
        self,
        request: Request,
        result: LocalResult | CloudResult | None,
        reason: str,
        now_s: float,
        error: str | None = None,
    ) -> None:
        """Hand over the one final answer and forget the request."""
        del self._requests[request.id]
        entry = self._entry.get(request.decision.option.plan.path, self._book.end)
        answer = make_answer(request, result, (entry, self._book.end), reason, now_s, error)
        by = answer.provenance.answered_by
        self.counters["failed_requests" if error else f"answered_{by}"] += 1
        self.counters["late_answers"] += is_late(answer)
        cancel = self._sender.withdraw(request)
        if by != "cloud" or result is request.provisional:
            self._out += map(Send, cancel)
        self._out.append(answer)
        if not self._schedule.works_on(request):
            self._out.append(Release(request.id))
        self._decider.policy.observe(outcome(answer, request))
