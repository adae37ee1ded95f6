"""When to ask the link how it is: pings for the round trip, probes for the rate, under a budget.

Small payloads are always limited by the application: that they arrive quickly does not tell what
else the link could carry, and a policy that stays on the device learns nothing at all. So while
requests come, the agent pings a few times a second, and if no payload of late has told the rate, it
sends a small probe behind the ping. A sample that contradicts the estimate is followed up at once:
the next probe is as large as the new estimate allows.
"""

from __future__ import annotations

import random
from math import inf

from splitnet.machines.pacing import CHUNK_S
from splitnet.machines.uplink import Uplink, elapsed_s, stamp
from splitnet.policies.estimators import LinkEstimator
from splitnet.wire import Ping, Pong, Probe

MEASURE_S = 0.15
"""Pause between two pings while requests come, and how long a rate counts as fresh."""

SOON_S = 0.02
"""The same after a round trip that contradicts the estimate."""

IN_USE_S = 1.0
"""Requests come if the last one is no older than this; otherwise heartbeats are enough."""

PROBE_S = 0.01
"""Link time of a probe that looks whether anything has changed; about 5 % of the link's time."""

MIN_PROBE_BYTES, SMALL_PROBE_BYTES, MAX_PROBE_BYTES = 256, 1024, 16384
"""Bounds of a probe; one that nothing gave reason for stays below the second."""

BURST_S = 4.0
"""The budget is saved up for so long."""

NUMBERS = 1 << 32


class Prober:
    """The pings and probes of one connection.

    Parameters
    ----------
    estimator
        Is told every sample.
    budget_bytes_per_s
        What probes may cost on average; 0 for none.
    heartbeat_s
        A ping leaves at least this often.
    """

    def __init__(
        self,
        estimator: LinkEstimator,
        uplink: Uplink,
        budget_bytes_per_s: float,
        heartbeat_s: float,
        now_s: float,
    ) -> None:
        self._estimator = estimator
        self._uplink = uplink
        self._budget_bytes_per_s = budget_bytes_per_s
        self._heartbeat_s = heartbeat_s
        self._saved_bytes = BURST_S * budget_bytes_per_s
        self._saved_s = now_s
        self._random = random.Random(uplink.session)
        self._number = 0
        self._unanswered: dict[int, float] = {}
        self._probe: Probe | None = None
        self._pinged_s = -inf
        self._heartbeat_due_s = now_s
        self._measure_due_s = inf
        self._used_s = -inf

    @property
    def due_s(self) -> float:
        """When to ask `ping` again."""
        heartbeat_s, measure_s = self._heartbeat_due_s, self._measure_due_s
        return measure_s if measure_s < heartbeat_s else heartbeat_s

    def use(self, now_s: float) -> None:
        """Note that a request came whose way depends on the link."""
        self._used_s = now_s
        if not self._unanswered:
            self._measure_by(self._pinged_s + MEASURE_S)

    def overdue_s(self, now_s: float) -> float:
        """Return the age of the oldest ping or probe without an answer, 0 if there is none."""
        return now_s - next(iter(self._unanswered.values()), now_s)

    def ping(self, now_s: float) -> list[Ping]:
        """Return the ping that is due, if one is."""
        if now_s < self.due_s:
            return []
        self._pinged_s = now_s
        self._heartbeat_due_s = now_s + self._heartbeat_s
        self._measure_due_s = inf
        ping = Ping(self._next_number(now_s), stamp(now_s))
        self._uplink.sent(ping, now_s)
        return [ping]

    def on_pong(self, pong: Pong, now_s: float) -> list[Probe]:
        """Learn from the answer to a ping or a probe; return the probe to send next, if any."""
        if pong.number not in self._unanswered:
            return []
        while next(iter(self._unanswered)) != pong.number:
            del self._unanswered[next(iter(self._unanswered))]
        del self._unanswered[pong.number]
        took_s = elapsed_s(now_s, pong.stamp)
        if self._probe is not None and pong.number == self._probe.number:
            self._estimator.on_transfer(len(self._probe.payload), took_s, now_s)
        else:
            self._estimator.on_rtt(took_s, now_s)
        if now_s >= self._used_s + IN_USE_S:
            return []  # and no ping before the next heartbeat
        pause_s = SOON_S if self._estimator.rtt_surprised else MEASURE_S
        self._measure_by(self._pinged_s + pause_s)
        return self.probe(now_s)

    def probe(self, now_s: float) -> list[Probe]:
        """Return a probe if one is wanted, no answer is awaited and the budget allows it."""
        if now_s >= self._used_s + IN_USE_S:
            return []
        nbytes = self._wanted_bytes(now_s)
        most_bytes = BURST_S * self._budget_bytes_per_s
        earned_bytes = self._budget_bytes_per_s * (now_s - self._saved_s)
        self._saved_bytes = min(most_bytes, self._saved_bytes + earned_bytes)
        self._saved_s = now_s
        nbytes = min(nbytes, int(self._saved_bytes))
        if self._unanswered or nbytes < MIN_PROBE_BYTES:
            return []
        self._saved_bytes -= nbytes
        self._measure_due_s = inf  # a ping would stand behind the probe
        payload = self._random.randbytes(nbytes)
        self._probe = Probe(self._next_number(now_s), stamp(now_s), payload)
        self._uplink.sent(self._probe, now_s)
        return [self._probe]

    def _wanted_bytes(self, now_s: float) -> int:
        """Return the size of the probe that would tell most now, 0 if none is needed."""
        estimator = self._estimator
        limit = min(MAX_PROBE_BYTES, self._uplink.max_chunk_bytes)
        if estimator.rate_surprised:
            wanted = (estimator.sample_bps or 0.0) / 8 * CHUNK_S
            return min(max(int(wanted), SMALL_PROBE_BYTES), limit)
        if now_s < estimator.rated_s + MEASURE_S:
            return 0
        wanted = (estimator.goodput_bps or 0.0) / 8 * PROBE_S
        return min(max(int(wanted), MIN_PROBE_BYTES), SMALL_PROBE_BYTES, limit)

    def _measure_by(self, time_s: float) -> None:
        self._measure_due_s = min(self._measure_due_s, time_s)

    def _next_number(self, now_s: float) -> int:
        self._number = (self._number + 1) % NUMBERS
        self._unanswered[self._number] = now_s
        return self._number
