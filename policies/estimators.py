"""What passive measurements say about the link and the cloud.

Time is an argument everywhere. The estimates are first-order smoothed values; they feed
`splitnet.values.Telemetry`.
"""

from __future__ import annotations

from collections import deque

RTT_GAIN = 1 / 8
"""Weight of a new round trip time. Source: RFC 6298, paragraph 2.3 (alpha)."""

GOODPUT_GAIN = 0.4
"""Weight of a new goodput sample: five samples make up 92 % of the estimate."""

CLOUD_GAIN = 1 / 4
"""Weight of a new sample of the worker's speed."""

RTT_WINDOW = 10
"""Round trips that the smallest, the one without queueing, is taken from."""

ACK_DELAY_S = 0.02
"""A worker acknowledges what it has received after so long at the latest (docs/wire.md)."""

MIN_PENDING_BYTES = 256
"""A message below this, such as a ping, says nothing of the goodput by being late."""

MIN_TRANSFER_SHARE = 0.1
"""A transfer is taken to last at least this share of its network time.

On a link so fast that a payload drowns in the round trip time, the sample then says "at least".
"""


def smooth(old: float | None, new: float, gain: float) -> float:
    """Return the exponentially smoothed value."""
    return new if old is None else old + gain * (new - old)


class LinkEstimator:
    """Round trip time and goodput from echoed stamps.

    Goodput is smoothed as time a bit, not as bits a second: a link that collapses is noticed with
    the first sample, one that recovers is trusted after some.
    """

    def __init__(self) -> None:
        self.rtt_s: float | None = None
        self.updated_s: float | None = None
        self._rtts_s: deque[float] = deque(maxlen=RTT_WINDOW)
        self._s_per_bit: float | None = None

    @property
    def base_rtt_s(self) -> float:
        """Smallest of the latest round trips, 0 if there was none: the way without queueing."""
        return min(self._rtts_s, default=0.0)

    @property
    def queueing_s(self) -> float:
        """What the smoothed round trip is above the smallest one."""
        return max(0.0, (self.rtt_s or 0.0) - self.base_rtt_s)

    @property
    def goodput_bps(self) -> float | None:
        """Application bits a second, ``None`` if nothing was transferred yet."""
        return None if self._s_per_bit is None else 1.0 / self._s_per_bit

    def on_rtt(self, sample_s: float, now_s: float) -> None:
        """Take the round trip of a message without payload."""
        self.rtt_s = smooth(self.rtt_s, max(sample_s, 0.0), RTT_GAIN)
        self._rtts_s.append(max(sample_s, 0.0))
        self.updated_s = now_s

    def on_transfer(self, nbytes: int, network_s: float, now_s: float) -> None:
        """Take a request and its reply: `nbytes` both ways in `network_s` without server time."""
        if network_s <= 0 or nbytes <= 0:
            return
        transfer_s = max(network_s - self.base_rtt_s, MIN_TRANSFER_SHARE * network_s)
        self._s_per_bit = smooth(self._s_per_bit, transfer_s / (8 * nbytes), GOODPUT_GAIN)
        self.updated_s = now_s

    def bounded_bps(self, pending_bytes: int, pending_s: float) -> float | None:
        """Return the goodput given that `pending_bytes` sent `pending_s` ago have not arrived."""
        overdue_s = pending_s - self.base_rtt_s - ACK_DELAY_S
        if self._s_per_bit is None or pending_bytes < MIN_PENDING_BYTES or overdue_s <= 0:
            return self.goodput_bps
        return 1.0 / max(self._s_per_bit, overdue_s / (8 * pending_bytes))


class CloudEstimator:
    """Waiting time in front of the worker and its speed relative to the profile."""

    def __init__(self) -> None:
        self.wait_s = 0.0
        self.slowdown = 1.0
        self.updated_s: float | None = None

    def on_load(self, wait_s: float, now_s: float) -> None:
        """Take the waiting time that the worker reports for a request arriving now."""
        self.wait_s = wait_s
        self.updated_s = now_s

    def on_run(self, measured_s: float, profiled_s: float, now_s: float) -> None:
        """Take the run time of one request beside the one that the profile predicts."""
        if profiled_s > 0:
            self.slowdown = smooth(self.slowdown, measured_s / profiled_s, CLOUD_GAIN)
            self.updated_s = now_s
