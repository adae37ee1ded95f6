"""Which plan a device should follow: over all deadlines and bandwidths, from its profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle import Bundle
from splitnet.config import nearest
from splitnet.devices import DEVICE_CLASSES, named_profile, profile_on
from splitnet.errors import UnknownNameError
from splitnet.machines.options import OptionBook
from splitnet.machines.pruning import undominated
from splitnet.machines.stage_times import StageTimes
from splitnet.policies.prediction import predict_latency_s
from splitnet.values import Option, Profile, Telemetry

Winners: TypeAlias = NDArray[np.intp]

RTT_S = 0.02
"""Round trip time of the map: a good Wi-Fi or wired path to a near data centre."""

BANDWIDTHS_BPS = (1e5, 1e9)
CELLS = 161
"""Points on each axis of the map."""

MARGIN = 0.7
"""How far the deadlines go beyond those at which something changes."""

EQUAL = 0.002
"""Accuracies that differ by less are noise of some hundred test samples, and count as equal."""

NONE = -1
"""No plan answers in time."""


@dataclass(frozen=True, slots=True)
class PlanMap:
    """The best plan for each bandwidth and deadline.

    Attributes
    ----------
    options
        Every way that the bundle offers the device, before its first decision.
    kept
        Those that no other dominates.
    bandwidths_bps, deadlines_s
        Both axes, ascending.
    winners
        Index into `options` by deadline and bandwidth, `NONE` where nothing is in time.
    """

    options: tuple[Option, ...]
    kept: tuple[Option, ...]
    bandwidths_bps: NDArray[np.float64]
    deadlines_s: NDArray[np.float64]
    winners: Winners


def known_device(bundle: Bundle, name: str | None) -> Profile:
    """Return the profile `name` of a bundle, or what a device class of that name would have.

    Raises
    ------
    UnknownNameError
        There is neither; the message lists both.
    """
    profiles = bundle.advice.profiles
    if name is None or any(profile.device == name for profile in profiles):
        return named_profile(profiles, name)
    if name in DEVICE_CLASSES:
        return profile_on(DEVICE_CLASSES[name], named_profile(profiles))
    known = [*(profile.device for profile in profiles), *DEVICE_CLASSES]
    raise UnknownNameError(
        f"unknown device {name!r}{nearest(name, known)}; profiles and device classes: "
        f"{', '.join(known)}"
    )


def device_options(bundle: Bundle, profile: Profile) -> tuple[Option, ...]:
    """Return all ways that a request has on a device with `profile`, priced."""
    return OptionBook(bundle, StageTimes(profile)).all_options()


def plan_map(bundle: Bundle, profile: Profile, rtt_s: float = RTT_S) -> PlanMap:
    """Return which plan wins where: the fastest of those in time that are nearly the best."""
    options = device_options(bundle, profile)
    rates_bps = np.geomspace(*BANDWIDTHS_BPS, CELLS)
    latency_s = np.array([[_latency_s(o, rate, rtt_s) for o in options] for rate in rates_bps])
    deadlines_s = _deadlines(options, latency_s)
    accuracy = np.array([option.accuracy for option in options])
    in_time = latency_s[None] <= deadlines_s[:, None, None]
    best = np.where(in_time, accuracy, -1.0).max(-1, keepdims=True)
    fit = in_time & (accuracy >= best - EQUAL)
    fastest = np.where(fit, latency_s[None], np.inf).argmin(-1)
    winners = np.where(in_time.any(-1), fastest, NONE)
    return PlanMap(options, undominated(options), rates_bps, deadlines_s, winners)


def _deadlines(options: Sequence[Option], latency_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return deadlines from too short for all to long enough for the best on the slowest link."""
    best = max(option.accuracy for option in options) - EQUAL
    fit = [i for i, option in enumerate(options) if option.accuracy >= best]
    return np.geomspace(MARGIN * latency_s.min(), latency_s[0, fit].min() / MARGIN, CELLS)


def front(options: Sequence[Option]) -> list[Option]:
    """Return the options that none beats in both accuracy and bytes, by ascending bytes."""
    kept: list[Option] = []
    for option in sorted(options, key=lambda o: (sent_bytes(o), -o.accuracy)):
        if not kept or option.accuracy > kept[-1].accuracy:
            kept.append(option)
    return kept


def sent_bytes(option: Option) -> float:
    """Return what an option sends on average; requests that an exit answers send nothing."""
    return (1.0 - option.exit_share) * option.uplink_bytes


def describe_map(found: PlanMap) -> dict[str, Any]:
    """Return what the map shows as a JSON object."""
    keys = [option.key for option in found.options]
    share = {key: float((found.winners == i).mean()) for i, key in enumerate(keys)}
    return {
        "options": keys,
        "kept": [option.key for option in found.kept],
        "front": [option.key for option in front(found.kept)],
        "share_of_map": {key: part for key, part in share.items() if part},
        "no_plan_in_time": float((found.winners == NONE).mean()),
    }


def _latency_s(option: Option, bandwidth_bps: float, rtt_s: float) -> float:
    link = Telemetry(connected=True, rtt_s=rtt_s, goodput_bps=bandwidth_bps)
    return predict_latency_s(option, link)
