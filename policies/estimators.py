"""What measurements say about the link and the cloud.

Time is an argument everywhere. The estimates feed `splitnet.values.Telemetry`.
"""

from __future__ import annotations

from collections import deque
from math import inf
from statistics import median_high, median_low

SAMPLES = 3
"""An estimate is the median of so many samples: one outlier never decides, two that agree do."""

CLOUD_GAIN = 1 / 4
"""Weight of a new sample of the worker's speed."""

RTT_WINDOW = 10
"""Round trips that the smallest, the one without queueing, and the spread are taken from."""

ACK_DELAY_S = 0.02
"""A worker acknowledges what it has received after so long at the latest (docs/wire.md)."""

MIN_PENDING_BYTES = 256
"""A message below this, such as a ping, says nothing of the goodput by being late."""

NOISE_S, NOISE_SHARE = 0.001, 0.1
"""A transfer is timed no better than this, in seconds and as a share of the round trip time.

Of a payload that drowns in that noise the sample says "at least".
"""

SURPRISING_RTT, SURPRISING_RATE = 1.25, 1.5
"""A sample that is off the estimate by more than this factor asks for another one soon."""


def smooth(old: float | None, new: float, gain: float) -> float:
    """Return the exponentially smoothed value."""
    return new if old is None else old + gain * (new - old)


class LinkEstimator:
    """Round trip time and goodput from echoed stamps.

    Attributes
    ----------
    rtt_s, goodput_bps
        Medians of the latest samples, ``None`` without any; of two the more cautious one.
    base_rtt_s
        Smallest of the latest round trips, 0 if there was none: the way without queueing.
    updated_s, rated_s
        Time of the latest sample, and of the latest one that told the goodput.
    sample_bps
        The latest sample of the goodput, ``None`` without any.
    rtt_surprised, rate_surprised
        Whether the latest sample of each kind contradicted the estimate.
    """

    def __init__(self) -> None:
        self.rtt_s: float | None = None
        self.goodput_bps: float | None = None
        self.updated_s: float | None = None
        self.rated_s = -inf
        self.sample_bps: float | None = None
        self.rtt_surprised = False
        self.rate_surprised = False
        self.base_rtt_s = 0.0
        self._rtts_s: deque[float] = deque(maxlen=RTT_WINDOW)
        self._rates_bps: deque[float] = deque(maxlen=SAMPLES)

    @property
    def queueing_s(self) -> float:
        """What the round trip is above the smallest one."""
        return max(0.0, (self.rtt_s or 0.0) - self.base_rtt_s)

    def on_rtt(self, sample_s: float, now_s: float) -> None:
        """Take the round trip of a message without payload."""
        sample_s = max(sample_s, 0.0)
        known_s = self.rtt_s
        self._rtts_s.append(sample_s)
        self.base_rtt_s = min(self._rtts_s)
        self.rtt_s = median_high(list(self._rtts_s)[-SAMPLES:])
        self.updated_s = now_s
        self.rtt_surprised = known_s is None or not (
            known_s / SURPRISING_RTT - NOISE_S <= sample_s <= known_s * SURPRISING_RTT + NOISE_S
        )

    def on_transfer(self, nbytes: int, network_s: float, now_s: float) -> None:
        """Take a request and its reply: `nbytes` both ways in `network_s` without server time."""
        if network_s <= 0 or nbytes <= 0:
            return
        if self.rtt_s is not None and network_s < self.rtt_s:
            self.on_rtt(network_s, now_s)  # no round trip takes longer than one with a payload
        transfer_s = network_s - (self.rtt_s or 0.0)
        noise_s = self._noise_s()
        rate_bps = 8 * nbytes / max(transfer_s, noise_s)
        known_bps = self.goodput_bps
        self.rate_surprised = False
        if transfer_s < noise_s and known_bps is not None and rate_bps <= known_bps:
            return
        self._rates_bps.append(rate_bps)
        self.goodput_bps = median_low(self._rates_bps)
        self.sample_bps = rate_bps
        self.updated_s = self.rated_s = now_s
        self.rate_surprised = known_bps is None or not (
            known_bps / SURPRISING_RATE <= rate_bps <= known_bps * SURPRISING_RATE
        )

    def _noise_s(self) -> float:
        """Return how well a transfer can be told from a mere round trip."""
        spread_s = median_low(self._rtts_s) - self.base_rtt_s if self._rtts_s else 0.0
        return max(NOISE_S, NOISE_SHARE * (self.rtt_s or 0.0), spread_s)

    def bounded_bps(self, pending_bytes: int, pending_s: float) -> float | None:
        """Return the goodput given that `pending_bytes` sent `pending_s` ago have not arrived."""
        overdue_s = pending_s - (self.rtt_s or 0.0) - ACK_DELAY_S
        if self.goodput_bps is None or pending_bytes < MIN_PENDING_BYTES or overdue_s <= 0:
            return self.goodput_bps
        return min(self.goodput_bps, 8 * pending_bytes / overdue_s)


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
