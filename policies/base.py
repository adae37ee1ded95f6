"""What every policy offers: choose one of the feasible options, and learn from outcomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from splitnet.values import Decision, DecisionState, Option, Outcome


class Policy(ABC):
    """Chooses one of the feasible continuations at every decision point.

    A policy holds no clock, socket or thread: all that it knows comes through its methods, and
    the same object drives real agents and simulated ones.
    """

    id: ClassVar[str]
    Config: ClassVar[type[Any]]
    watches_link: ClassVar[bool] = True
    """Whether choices depend on how the link is, so that it is worth pings and probes.

    Otherwise `choose` is told what was known after the latest message.
    """

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    @abstractmethod
    def choose(self, state: DecisionState, options: Sequence[Option]) -> Decision:
        """Return one of `options`, which holds at least one element."""

    def check(self, plans: Sequence[str]) -> None:
        """Raise `UnknownNameError` if the policy names a plan that is not among `plans`."""
        del plans

    def considers(self, plan: str) -> bool:
        """Return whether the policy may ever take `plan`: the others are not even priced.

        Ways on the device are always offered. The default is to consider every plan.
        """
        del plan
        return True

    def observe(self, outcome: Outcome) -> None:
        """Take note of how a request ended; the default is to forget it."""
        del outcome
