"""Times of all stages on a device on which only a few of them were measured.

A device differs from another one by a factor, and the factor differs by what a stage does. So the
logarithm of the ratio of a stage's times, on this device and on a reference device, is taken as a
linear function of static features, and fitted to the measured stages by Bayesian linear regression:
with few samples the prior keeps it near one factor for all. What to measure is chosen before, for
the prior alone says how much each stage would tell about the others.

Sources: HELP (Lee et al., NeurIPS 2021) for adapting what reference devices say by at most 10
samples, Neurosurgeon (Kang et al., ASPLOS 2017, section 4) for regressions on features of layers.
The prior below is the one that benchmarks/prediction.py finds best, in a wide range of good ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from math import expm1
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle import Advice
from splitnet.errors import ConfigError
from splitnet.values import Profile, StageTime, fused_stage, segment_stage

Array: TypeAlias = NDArray[np.float64]

CLASSES = ("conv", "depthwise", "matmul", "elementwise", "other", "codec")
"""Classes of operators that devices differ by; a stage has a share of work in each."""

MAX_SAMPLES = 10
"""Stages measured unless the user asks for another number, as in HELP."""

FACTOR_STD = 10.0
"""Prior spread of the common factor, a natural logarithm: it may be anything."""

FLOPS_FLOOR, BYTES_FLOOR = 1e3, 1e2
"""What a stage without FLOPs or bytes counts as, so that logarithms exist."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed before a device is measured, all in natural logarithms of a ratio.

    Attributes
    ----------
    share_std
        How much the factor of a class of operators differs from the common one.
    slope_std
        How much it changes when a size (time, bytes, operators, FLOPs a weight) grows e times.
    noise_std
        What the features leave unexplained, and the error of a measurement.
    """

    share_std: float = 1.0
    slope_std: float = 0.2
    noise_std: float = 0.08


PRIOR = Prior()


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of some stages without running them on the device.

    Attributes
    ----------
    shares
        Share of the work in each of `CLASSES`, ``(S, 6)``.
    flops, moved_bytes, weight_bytes, operators
        For one sample, ``(S,)``.
    """

    shares: Array
    flops: Array
    moved_bytes: Array
    weight_bytes: Array
    operators: Array


class Predictor:
    """Predicts times of stages on a device from times of the same stages on a reference device.

    Parameters
    ----------
    features
        Of the S stages.
    reference_s
        Their times on the reference device, ``(S,)``, above 0.
    """

    def __init__(self, features: Features, reference_s: Array, prior: Prior = PRIOR) -> None:
        self._log_reference = np.log(reference_s)
        self._noise = prior.noise_std**2
        sizes = np.stack(
            [
                self._log_reference,
                np.log((features.flops + FLOPS_FLOOR) / (features.weight_bytes + BYTES_FLOOR)),
                np.log(features.moved_bytes + BYTES_FLOOR),
                np.log(features.operators + 1),
            ],
            axis=1,
        )
        design = np.concatenate(
            [
                np.full((len(reference_s), 1), FACTOR_STD),
                prior.share_std * (features.shares - features.shares.mean(0)),
                prior.slope_std * (sizes - sizes.mean(0)),
            ],
            axis=1,
        )
        self._covariance: Array = design @ design.T

    def choose(self, count: int, measurable: Sequence[int] | None = None) -> list[int]:
        """Return which `count` stages to measure, the most telling one first.

        Each is the one that takes most from the uncertainty of all times together; a stage counts
        by its time on the reference device.

        Parameters
        ----------
        measurable
            Stages that can be measured at all; ``None`` stands for all.
        """
        open_stages = list(range(len(self._covariance)) if measurable is None else measurable)
        weight = np.exp(self._log_reference)[:, None]
        left, chosen = self._covariance.copy(), list[int]()
        while open_stages and len(chosen) < count:
            gain = ((weight * left[:, open_stages]) ** 2).sum(0)
            gain /= left.diagonal()[open_stages] + self._noise
            best = open_stages.pop(int(np.argmax(gain)))
            left -= np.outer(left[:, best], left[best]) / (left[best, best] + self._noise)
            chosen.append(best)
        return chosen

    def predict(self, samples: Mapping[int, float]) -> tuple[Array, Array]:
        """Return the times of all stages, ``(S,)``, and the spread of their logarithms.

        Parameters
        ----------
        samples
            Seconds that some stages took on the device; these stand as they are, without spread.
        """
        at = list(samples)
        ratios = np.log(list(samples.values())) - self._log_reference[at]
        noisy = self._covariance[np.ix_(at, at)] + self._noise * np.eye(len(at))
        inner: Array = np.linalg.inv(noisy).astype(np.float64)
        gains = self._covariance[:, at] @ inner
        times_s = np.exp(self._log_reference + gains @ ratios)
        spread = self._covariance.diagonal() - (gains * self._covariance[:, at]).sum(1)
        std = np.sqrt(np.maximum(spread, 0.0) + self._noise) * _surprise(inner, ratios)
        times_s[at], std[at] = list(samples.values()), 0.0
        return times_s, std


def _surprise(inner: Array, ratios: Array) -> float:
    """Return how much larger errors are than the prior expects, at least 1.

    Each sample is predicted from the others (Rasmussen and Williams, Gaussian Processes for
    Machine Learning, 2006, equations 5.10 to 5.12).
    """
    standard = (inner @ ratios) / np.sqrt(inner.diagonal())
    return max(1.0, float(np.sqrt(np.mean(standard**2))))


@dataclass(frozen=True, slots=True)
class Predicted:
    """Times of all stages of a bundle on a device, most of them predicted.

    Attributes
    ----------
    error
        Relative error that two of three predicted stages are expected to stay below, for the
        stage in the middle; 0 if all were measured.
    """

    stages: Mapping[str, StageTime]
    measured: Set[str]
    error: float


def stage_features(advice: Advice, stages: Sequence[str]) -> Features:
    """Return the static features of some stages of a bundle.

    Raises
    ------
    ConfigError
        The bundle was built without them.
    """
    parts = {name: (name,) for name in advice.costs} | {
        fused_stage(run.first, run.stop): tuple(map(segment_stage, range(run.first, run.stop)))
        for run in advice.fused
    }
    missing = [stage for stage in stages if stage not in advice.work or stage not in parts]
    if missing:
        raise ConfigError(
            f"the bundle does not say what work {missing[0]} is, so its time cannot be predicted: "
            "profile it once where the extra build is installed, or measure all stages"
        )
    work = [advice.work[stage] for stage in stages]
    return Features(
        shares=np.array([_shares(advice, parts[stage]) for stage in stages]),
        flops=_column(sum(advice.flops.get(p, 0) for p in parts[stage]) for stage in stages),
        moved_bytes=_column(item.moved_bytes for item in work),
        weight_bytes=_column(item.weight_bytes for item in work),
        operators=_column(item.operators for item in work),
    )


def _shares(advice: Advice, parts: Sequence[str]) -> Array:
    """Return the shares of the classes in some stages together, each weighted by its FLOPs."""
    weights = _column(advice.flops.get(part, 0) for part in parts)
    rows = np.array([[advice.costs[p].get(name, 0.0) for name in CLASSES] for p in parts])
    return np.average(rows, axis=0, weights=weights if weights.any() else None)


class StagePredictor:
    """Chooses stages of a bundle to measure on a device, and predicts the others.

    Parameters
    ----------
    reference
        A profile of the same bundle, made on another device.
    """

    def __init__(self, advice: Advice, reference: Profile) -> None:
        self._stages = [name for name, time in reference.stages.items() if time.p50_s > 0]
        features = stage_features(advice, self._stages)
        times_s = _column(reference.stages[name].p50_s for name in self._stages)
        self._predictor = Predictor(features, times_s)

    def choose(self, count: int, measurable: Set[str]) -> tuple[str, ...]:
        """Return the stages to measure, at most `count` of those that are `measurable`."""
        allowed = [i for i, name in enumerate(self._stages) if name in measurable]
        return tuple(self._stages[i] for i in self._predictor.choose(count, allowed))

    def predict(self, samples: Mapping[str, StageTime]) -> Predicted:
        """Return all stages of the reference profile; the samples stand as they were measured.

        The 95th percentile of a predicted stage is as far above its median as with the samples.
        """
        known = {i: samples[n].p50_s for i, n in enumerate(self._stages) if n in samples}
        times_s, std = self._predictor.predict(known)
        jitter = float(np.median([time.p95_s / time.p50_s for time in samples.values()]))
        stages = {
            name: samples.get(name, StageTime(float(t), float(t) * jitter))
            for name, t in zip(self._stages, times_s, strict=True)
        }
        spread = std[std > 0]
        error = expm1(float(np.median(spread))) if len(spread) else 0.0
        return Predicted({**stages, **samples}, frozenset(samples), error)


def _column(values: Any) -> Array:
    return np.array(list(values), np.float64)
