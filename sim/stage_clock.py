"""How long a stage takes this time: drawn around the median of a profile, by seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log
from random import Random
from statistics import NormalDist

from splitnet.devices import device_class, named_profile, profile_on, scaled
from splitnet.sim.scenario import AgentSettings, WorkerSettings
from splitnet.values import Profile, StageTime

_NORMAL = NormalDist()

_P95_DEVIATIONS = _NORMAL.inv_cdf(0.95)
"""Standard deviations between the median and the 95th percentile of a normal distribution."""

_QUANTILES = 1024
_DEVIATIONS = [_NORMAL.inv_cdf((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)]
"""A normal distribution in so many equally likely values: a draw is one look-up, and the same
sequence on every Python (that of `Random.random` is promised to stay, that of `gauss` is not)."""


def simulated_profile(
    profiles: Sequence[Profile], settings: AgentSettings | WorkerSettings
) -> Profile:
    """Return the stage times of a device or a worker: of a profile, on a class of board, slowed.

    Raises
    ------
    ConfigError
        There is no such profile, or it says nothing of the class.
    """
    profile = named_profile(profiles, settings.profile)
    if settings.device is not None:
        profile = profile_on(device_class(settings.device), profile)
    return slowed(profile, settings.factor)


def slowed(profile: Profile, factor: float) -> Profile:
    """Return the profile of a device that is `factor` times slower in everything."""
    return scaled(profile, factor, f"{profile.device} x {factor:g}")


class StageClock:
    """Draws stage times from log-normal distributions with the median and p95 of a profile.

    Times cannot be negative and their tail is on the long side, which two percentiles say nothing
    about; the log-normal distribution is the plain choice that keeps both.

    Parameters
    ----------
    spread
        1 draws as wide as the profile says; 0 always takes the median.
    """

    def __init__(self, profile: Profile, spread: float, random: Random) -> None:
        self._random = random.random
        self._shapes = {
            key: (time.p50_s, spread * _deviation(time)) for key, time in profile.stages.items()
        }

    def draw_s(self, keys: Iterable[str]) -> float:
        """Return the time of the stages `keys` together; one without a profile takes none."""
        total_s = 0.0
        for key in keys:
            p50_s, deviation = self._shapes.get(key, (0.0, 0.0))
            drawn = _DEVIATIONS[int(_QUANTILES * self._random())]
            total_s += p50_s * exp(deviation * drawn)
        return total_s


def _deviation(time: StageTime) -> float:
    return log(time.p95_s / time.p50_s) / _P95_DEVIATIONS if time.p50_s > 0 else 0.0
