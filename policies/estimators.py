"""What passive measurements say about the link and the cloud.

Time is an argument everywhere. The estimates are first-order smoothed values; they feed
`splitnet.values.Telemetry`.
"""

from __future__ import annotations

RTT_GAIN = 1 / 8
"""Weight of a new round trip time. Source: RFC 6298, paragraph 2.3 (alpha)."""

GOODPUT_GAIN = 1 / 4
"""Weight of a new goodput sample; a handful of samples outweighs the past."""

CLOUD_GAIN = 1 / 4
"""Weight of a new sample of the worker's speed."""

MIN_TRANSFER_SHARE = 0.1
"""A transfer is taken to last at least this share of its network time.

On a link so fast that a payload drowns in the round trip time, the sample then says "at least".
"""


def smooth(old: float | None, new: float, gain: float) -> float:
    """Return the exponentially smoothed value."""
    return new if old is None else old + gain * (new - old)


class LinkEstimator:
    """Smoothed round trip time and goodput from echoed stamps."""

    def __init__(self) -> None:
        self.rtt_s: float | None = None
        self.goodput_bps: float | None = None
        self.updated_s: float | None = None

    def on_rtt(self, sample_s: float, now_s: float) -> None:
        """Take the round trip of a message without payload."""
        self.rtt_s = smooth(self.rtt_s, max(sample_s, 0.0), RTT_GAIN)
        self.updated_s = now_s

    def on_transfer(self, nbytes: int, network_s: float, now_s: float) -> None:
        """Take a request and its reply: `nbytes` both ways in `network_s` without server time."""
        if network_s <= 0 or nbytes <= 0:
            return
        transfer_s = max(network_s - (self.rtt_s or 0.0), MIN_TRANSFER_SHARE * network_s)
        self.goodput_bps = smooth(self.goodput_bps, 8 * nbytes / transfer_s, GOODPUT_GAIN)
        self.updated_s = now_s


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
