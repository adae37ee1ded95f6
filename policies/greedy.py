"""Least predicted latency under the current estimates that meets an accuracy floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from splitnet.errors import ConfigError
from splitnet.policies.base import Policy
from splitnet.policies.prediction import predict_latency_s
from splitnet.values import Decision, DecisionState, Option


class Greedy(Policy):
    """Neurosurgeon's rule with an accuracy floor, asked anew at every decision point.

    Of the options that meet the floor and the deadline the fastest is taken. If there is none, the
    most accurate that meets the deadline; if there is none either, the fastest of all.

    Source: Neurosurgeon (Kang et al., ASPLOS 2017), algorithm 1.
    """

    id = "greedy"

    @dataclass(frozen=True, slots=True)
    class Config:
        """The least expected score, in [0, 1], that an answer may have."""

        floor: float = 0.0

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self._floor: float = self.config.floor
        if not 0.0 <= self._floor <= 1.0:
            raise ConfigError(f"greedy: floor must lie in [0, 1], got {self._floor}")

    def choose(self, state: DecisionState, options: Sequence[Option]) -> Decision:
        """Return the fastest option that meets floor and deadline, and the next best one."""
        remaining_s = inf if state.remaining_s is None else state.remaining_s
        predicted = {option: predict_latency_s(option, state.telemetry) for option in options}
        in_time = [option for option in options if predicted[option] <= remaining_s]
        good = [option for option in in_time if option.accuracy >= self._floor]
        if good:
            ranked = sorted(good, key=lambda option: (predicted[option], -option.accuracy))
            reason = f"fastest with accuracy >= {self._floor:g}"
        elif in_time:
            ranked = sorted(in_time, key=lambda option: (-option.accuracy, predicted[option]))
            reason = f"most accurate in time; none reaches {self._floor:g}"
        else:
            ranked = sorted(options, key=lambda option: (predicted[option], -option.accuracy))
            reason = "fastest; none is predicted to make the deadline"
        return Decision(
            option=ranked[0],
            reason=f"{reason}: {ranked[0].accuracy:.3f} in {1e3 * predicted[ranked[0]]:.1f} ms",
            predicted_s=predicted[ranked[0]],
            runner_up=ranked[1].key if len(ranked) > 1 else None,
        )
