"""Asking the policy: what link and cloud can do, which options there are, which one is taken."""

from __future__ import annotations

from collections.abc import Set
from math import inf

from splitnet.machines.link import Link
from splitnet.machines.options import OptionBook
from splitnet.machines.request import Request
from splitnet.machines.uplink import Uplink, elapsed_s
from splitnet.policies.base import Policy
from splitnet.policies.estimators import CloudEstimator
from splitnet.values import Decision, DecisionPoint, DecisionState, Telemetry
from splitnet.wire import Chunk, Infer, Pong, Reply

MAX_BUDGET_US = (1 << 32) - 1
"""The largest budget that the wire carries (71 minutes)."""

CAUTION = 2
"""Where a worker waits for refinements, a link half as fast as estimated must not cost the answer.

Of a link of which nothing is known, the base may take this part of the time that is left.
"""


class Decider:
    """Keeps the estimates and puts every decision to the policy with the options of the moment."""

    def __init__(
        self, book: OptionBook, policy: Policy, link: Link, path_number: dict[str, int]
    ) -> None:
        policy.check(book.keys())
        book.keep(policy.considers)
        self.policy = policy
        self._book = book
        self._link = link
        self._path_number = path_number
        self._uplink: Uplink | None = None
        self._served: frozenset[str] = frozenset()
        self._cloud_estimate = CloudEstimator()
        self._told = Telemetry()
        self._told_version: object = None

    def telemetry(self, now_s: float) -> Telemetry:
        """Return what is known of link and cloud now."""
        link, cloud = self._link, self._cloud_estimate
        measured_s, figures = link.estimate.updated_s, link.figures
        return Telemetry(
            connected=link.ready,
            rtt_s=link.rtt_s(now_s),
            queueing_s=link.estimate.queueing_s,
            goodput_bps=link.goodput_bps(now_s),
            unsent_bytes=None if figures is None else figures.unsent_bytes,
            retransmits=None if figures is None else figures.retransmits,
            link_age_s=None if measured_s is None else now_s - measured_s,
            cloud_wait_s=cloud.wait_s,
            cloud_slowdown=cloud.slowdown,
            cloud_age_s=None if cloud.updated_s is None else now_s - cloud.updated_s,
        )

    def decide(self, point: DecisionPoint, request: Request, now_s: float) -> Decision:
        """Return the policy's choice for a request."""
        telemetry = self._telemetry_for_policy(now_s)
        remaining_s = request.remaining_s(now_s)
        options = self._book.options(request, remaining_s, self._usable_paths(request))
        confidence = request.results[request.latest_exit].confidence if request.results else None
        state = DecisionState(point, telemetry, remaining_s, confidence)
        return self.policy.choose(state, options)

    def _telemetry_for_policy(self, now_s: float) -> Telemetry:
        """Return what is known now, or, to a policy that does not watch the link, was lately."""
        if self.policy.watches_link:
            self._link.use(now_s)
            return self.telemetry(now_s)
        version = self._link.uplink, self._link.estimate.updated_s, self._cloud_estimate.updated_s
        if version != self._told_version:
            self._told, self._told_version = self.telemetry(now_s), version
        return self._told

    def _usable_paths(self, request: Request) -> Set[str]:
        """Return the paths to send on: a deferred request may wait for a session, a live not."""
        uplink = self._link.uplink
        if uplink is None:
            return self._path_number.keys() - request.refused if not request.live else frozenset()
        if uplink is not self._uplink:
            self._uplink = uplink
            paths = self._path_number.items()
            self._served = frozenset(path for path, number in paths if uplink.serves(number))
        return self._served - request.refused if request.refused else self._served

    def budget_us(self, request: Request, now_s: float) -> int:
        """Return what the worker may use: the rest of the deadline without the link's share.

        It begins when the base is complete. A worker that waits for refinements uses all of it, so
        the estimates must not be too good then: see `CAUTION`. One that answers each of them keeps
        the request so long; a deferred one must end there, too.
        """
        one_by_one, encoded = request.one_by_one, request.encoded
        remaining_s = request.due_s - now_s if one_by_one else request.remaining_s(now_s)
        if remaining_s is None or encoded is None:
            return 0
        goodput_bps, nbytes = self._link.goodput_bps(now_s), len(encoded.payload)
        crossing_s = (self._link.rtt_s(now_s) or 0.0) + 8 * nbytes / (goodput_bps or inf)
        waits = bool(encoded.refinements) and not one_by_one
        if waits and goodput_bps is None:
            crossing_s += remaining_s / CAUTION
        elif waits and goodput_bps:
            ahead_bytes = self._link.unacked_bytes
            crossing_s += 8 * ((CAUTION - 1) * nbytes + ahead_bytes) / goodput_bps
        return min(max(1, int(1e6 * (remaining_s - crossing_s))), MAX_BUDGET_US)

    def pump(self, uplink: Uplink, now_s: float) -> list[Infer | Chunk]:
        """Return the chunks that may leave now, given what is known of the link."""
        estimate = self._link.estimate
        return uplink.pump(estimate.base_rtt_s, estimate.goodput_bps, now_s)

    def on_pong(self, pong: Pong, now_s: float) -> None:
        """Learn the worker's queue from a pong."""
        self._cloud_estimate.on_load(pong.load.wait_us / 1e6, now_s)

    def on_reply(self, reply: Reply, request: Request, now_s: float) -> None:
        """Learn from a reply, and note its times in the request."""
        assert request.encoded is not None
        plan = request.decision.option.plan
        server_s = (reply.decode_us + reply.run_us) / 1e6
        before = 0 if request.provisional is None else request.provisional.refinements
        since_s = now_s - request.part_left_s if before else elapsed_s(now_s, reply.stamp)
        network_s = max(0.0, since_s - reply.queue_us / 1e6 - server_s)
        used = request.encoded.parts[before : reply.refinements]
        nbytes = sum(map(len, used)) + len(reply.payload)
        self._link.estimate.on_transfer(nbytes, network_s, now_s)
        self._cloud_estimate.on_load(reply.load.wait_us / 1e6, now_s)
        profiled_s = self._book.cloud_run_s(plan.path, plan.level)
        self._cloud_estimate.on_run(server_s, profiled_s, now_s)
        request.took("network", network_s)
        request.took("cloud:queue", reply.queue_us / 1e6)
        request.took("cloud:decode", reply.decode_us / 1e6)
        request.took("cloud:run", reply.run_us / 1e6)
