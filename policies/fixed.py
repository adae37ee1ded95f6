"""The policy that follows one plan: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from splitnet.config import nearest
from splitnet.errors import ConfigError, UnknownNameError
from splitnet.policies.base import Policy
from splitnet.policies.prediction import predict_latency_s
from splitnet.values import Decision, DecisionState, Option, OptionKind


class Fixed(Policy):
    """Follow ``plan`` whenever it is feasible, otherwise the best local answer.

    ``plan`` is a plan of the bundle such as ``layer2@1`` or ``layer2@1+exits``, ``device:end`` for
    the whole network on the device, or ``device:<exit>``.
    """

    id = "fixed"
    watches_link = False

    @dataclass(frozen=True, slots=True)
    class Config:
        """The one plan to follow."""

        plan: str

    def __init__(self, config: Config | None = None) -> None:
        if config is None:
            raise ConfigError("policy fixed needs a plan: fixed:plan=PATH@LEVEL (splitnet inspect)")
        super().__init__(config)
        self._plan = config.plan

    def check(self, plans: Sequence[str]) -> None:
        """Raise `UnknownNameError` if the bundle does not have the plan."""
        if self._plan not in plans:
            raise UnknownNameError(
                f"unknown plan {self._plan!r}{nearest(self._plan, plans)}; "
                f"the bundle has: {', '.join(plans)}"
            )

    def considers(self, plan: str) -> bool:
        """Return whether `plan` is the one to follow."""
        return plan == self._plan

    def choose(self, state: DecisionState, options: Sequence[Option]) -> Decision:
        """Return the plan's own option, or the most accurate of the others with the reason."""
        own: Option | None = None
        answer: Option | None = None
        for option in options:
            if option.key == self._plan:
                if option.kind is OptionKind.ANSWER:
                    answer = option
                else:
                    own = option
        if own is not None and answer is not None and _rule_met(answer, state):
            return self._decide(answer, state, "the exit's rule of the fixed plan is met", own)
        if own is not None:
            return self._decide(own, state, "fixed", None)
        local = [o for o in options if o.kind is not OptionKind.OFFLOAD] or list(options)
        best = max(local, key=lambda option: (option.accuracy, -option.device_s))
        return self._decide(best, state, f"fixed plan {self._plan} is not feasible now", None)

    def _decide(
        self, option: Option, state: DecisionState, reason: str, runner_up: Option | None
    ) -> Decision:
        return Decision(
            option=option,
            reason=reason,
            predicted_s=predict_latency_s(option, state.telemetry),
            runner_up=runner_up.key if runner_up else None,
        )


def _rule_met(answer: Option, state: DecisionState) -> bool:
    """Return whether the exit of `answer` is as sure as the rule of its plan demands."""
    return state.confidence is not None and any(
        step.exit == answer.exit and state.confidence >= step.threshold
        for step in answer.plan.exits
    )
