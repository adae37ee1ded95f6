"""One admitted request on the device, from admission to its one final answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from splitnet.machines.agent_io import NOT_PREPARED, CloudResult, Encoded, LocalResult, Stage
from splitnet.values import DEVICE, SKIP, Decision, Option, OptionKind, Plan, RequestClass

UNDECIDED = Decision(Option(OptionKind.LOCAL, Plan(DEVICE, 0), None, 0.0, 0.0), "undecided", 0.0)
"""Decision of a request at the moment of its admission."""


@dataclass(slots=True)
class Request:
    """What the agent knows of a request.

    Attributes
    ----------
    due_s, deadline_s
        When a local answer is handed over, and the deadline itself (``None`` for deferred ones).
    decision
        What the policy chose last.
    boundary
        The furthest boundary whose tensors the driver holds; it holds the earlier ones too.
    results
        Local answers by exit, in order; the end of the network has the key ``None``.
    heard
        What exits and prefilter have said, in order, answer or not.
    encoded, encoded_for
        The payload, and the (path, level) that it was made for.
    sent
        Whether the payload is with the worker of the present session.
    part_left_s
        When the first chunk of the refinement that left last did.
    provisional
        The cloud's answer to the refinements sent so far, while it may be asked for a better one.
    starved
        Whether the payload had to wait for credit.
    attempts, retry_s
        How often it was sent again, and when to try the next time.
    refused
        Paths that will not be tried again.
    failure
        Why there will be no local answer, if that is so while the cloud may still answer.
    timer_late_s
        By how much timers of this request overshot.
    uplink_bytes, downlink_bytes, header_bytes
        Payload bytes that have left since it was sent last, those of all its replies, and bytes of
        all heads.
    """

    id: int
    frame: int
    arrived_s: float
    due_s: float
    deadline_s: float | None
    decision: Decision = UNDECIDED
    boundary: int = NOT_PREPARED
    results: dict[str | None, LocalResult] = field(default_factory=dict)
    heard: dict[str | None, LocalResult] = field(default_factory=dict)
    encoded: Encoded | None = None
    encoded_for: tuple[str, int] | None = None
    sent: bool = False
    part_left_s: float = 0.0
    provisional: CloudResult | None = None
    starved: bool = False
    attempts: int = 0
    retry_s: float | None = None
    refused: set[str] = field(default_factory=set)
    failure: str = ""
    timer_late_s: float = 0.0
    uplink_bytes: int = 0
    downlink_bytes: int = 0
    header_bytes: int = 0
    stages_s: dict[str, float] = field(default_factory=dict)

    @property
    def request_class(self) -> RequestClass:
        """Live if there is a deadline."""
        return RequestClass.DEFERRED if self.deadline_s is None else RequestClass.LIVE

    @property
    def live(self) -> bool:
        """Whether there is a deadline."""
        return self.deadline_s is not None

    @property
    def provided(self) -> bool:
        """Whether there is an answer to hand over, or none is to be had from the device."""
        return bool(self.results or self.failure) or self.provisional is not None

    @property
    def one_by_one(self) -> bool:
        """Whether each refinement waits for the answer to those before it."""
        encoded = self.encoded
        return bool(self.decision.option.plan.stops and encoded and encoded.refinements)

    def passed(self, stage: Stage, duration_s: float) -> None:
        """Note that a stage ended well."""
        self.took("+".join(stage.keys), duration_s)
        self.boundary = max(self.boundary, stage.reaches)

    def ends_with(self, exit_id: str | None) -> bool:
        """Whether what `exit_id` answered ends the request, without asking the policy."""
        option = self.decision.option
        goal = option.kind is OptionKind.LOCAL and option.exit == exit_id
        return goal or exit_id is None or exit_id == SKIP

    def took(self, stage: str, time_s: float) -> None:
        """Add to the time of a stage."""
        self.stages_s[stage] = self.stages_s.get(stage, 0.0) + time_s

    def has_parts(self, refinements: int) -> bool:
        """Whether an answer can be made of so many refinements."""
        return self.encoded is not None and refinements <= len(self.encoded.parts)

    def remaining_s(self, now_s: float) -> float | None:
        """Return the time left for an answer, ``None`` without a deadline."""
        return None if self.deadline_s is None else self.due_s - now_s

    @property
    def latest_exit(self) -> str | None:
        """The last local answer computed: every stage is behind the ones before."""
        return next(reversed(self.results))
