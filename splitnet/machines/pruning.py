"""Which options a device can forget: those that another one beats in everything that counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splitnet.values import Option, OptionKind

NOISE_DIGITS = 9
"""Costs are equal within a billionth: the order of an addition must not decide."""


def undominated(options: Sequence[Option]) -> tuple[Option, ...]:
    """Return the options that no other dominates, in their order.

    One dominates another if it is no worse in expected accuracy, number of the cloud's replies,
    bytes sent, device time and time of device and cloud together, and better in one of them. Then
    it is no slower over any link and with any load of the cloud that slows all work there alike up
    to the device's own pace. Of equal options the first stays. The options must be alternatives of
    one request, on paths that are all usable: an option that is dominated is worth having when its
    rival cannot be taken.
    """
    if len(options) < 2:
        return tuple(options)
    costs = np.round([_costs(option) for option in options], NOISE_DIGITS)
    no_worse = np.all(costs[:, None] <= costs[None], axis=-1)
    better = np.any(costs[:, None] < costs[None], axis=-1)
    first = np.triu(np.ones_like(no_worse), 1)
    beaten = np.flatnonzero(np.any(no_worse & (better | first), axis=0)).tolist()
    return tuple(option for i, option in enumerate(options) if i not in beaten)


def _costs(option: Option) -> tuple[float, ...]:
    """Return what an option costs on average over the requests that leave at its exits or go on."""
    goes_on = 1.0 - option.exit_share
    replies = goes_on * option.replies
    device_s = option.exit_share * option.exit_device_s + goes_on * option.device_s
    return (
        -option.accuracy,
        replies if option.kind is OptionKind.OFFLOAD else 0.0,
        goes_on * option.uplink_bytes,
        device_s,
        device_s + replies * option.cloud_s,
    )
