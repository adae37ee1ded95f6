"""How long an option is expected to take, given what is known of link and cloud."""

from __future__ import annotations

from math import inf

from splitnet.values import Option, OptionKind, Telemetry

ASSUMED_GOODPUT_BPS = 10e6
"""Goodput assumed before the first measurement: a middling LTE uplink."""

ASSUMED_RTT_S = 0.05
"""Round trip time assumed before the first measurement."""


def predict_latency_s(option: Option, telemetry: Telemetry) -> float:
    """Return the expected time from now to the answer, infinite for an offload without a link.

    Source: Neurosurgeon (Kang et al., ASPLOS 2017), section 5, with the worker's queue and its
    slowdown added as in LoADPart (Liu et al., ICDCS 2022). Every reply costs a round trip, a run
    and the wait for it.
    """
    full_s = option.device_s
    if option.kind is OptionKind.OFFLOAD:
        if not telemetry.connected:
            return inf
        goodput_bps = telemetry.goodput_bps or ASSUMED_GOODPUT_BPS
        rtt_s = ASSUMED_RTT_S if telemetry.rtt_s is None else telemetry.rtt_s
        cloud_s = telemetry.cloud_wait_s + option.cloud_s * telemetry.cloud_slowdown
        nbytes = option.uplink_bytes + option.replies * option.downlink_bytes
        full_s += option.replies * (rtt_s + cloud_s) + 8 * nbytes / goodput_bps
    return option.exit_share * option.exit_device_s + (1 - option.exit_share) * full_s
