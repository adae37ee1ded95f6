"""What leaves for the worker: encoded payloads that are ready, as far as credit and window go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from splitnet.machines.agent_io import Encoded, Send
from splitnet.machines.deciding import Decider
from splitnet.machines.link import Link
from splitnet.machines.request import Request
from splitnet.machines.uplink import Uplink
from splitnet.values import OptionKind
from splitnet.wire import Infer, Message, size

MAX_ATTEMPTS = 5
"""A payload that arrives damaged is sent at most this often before its path is given up."""

RETRY_S, LONGEST_RETRY_S = 0.05, 2.0
"""First and longest pause before a deferred request is sent again; it doubles in between."""


class Sender:
    """Puts the payloads of requests into the uplink, and takes them back.

    Parameters
    ----------
    path_number
        Number of each path in the hello.
    stop
        Boundary at which the worker stops.
    """

    def __init__(
        self, link: Link, decider: Decider, path_number: Mapping[str, int], stop: int
    ) -> None:
        self._link = link
        self._decider = decider
        self._path_number = path_number
        self._stop = stop

    # --- what may leave -------------------------------------------------------------------------

    def ready(self, requests: Iterable[Request], now_s: float) -> list[Request]:
        """Return the requests that wait for nothing but the uplink, in their order."""
        found = []
        for request in requests:
            if request.retry_s is not None and now_s >= request.retry_s:
                request.retry_s = None
            if is_ready(request):
                found.append(request)
        return found

    def takes(self, request: Request) -> bool:
        """Whether the worker takes the payload of a request that is ready at all."""
        uplink = self._uplink
        served = uplink.serves(self._path_number[request.decision.option.plan.path])
        return served and uplink.takes(_encoded(request).nbytes)

    def has_credit(self, request: Request) -> bool:
        """Whether the credit covers the payload of a request that is ready."""
        return self._uplink.has_credit(_encoded(request).nbytes)

    # --- to the worker and back -----------------------------------------------------------------

    def put(self, request: Request, now_s: float) -> None:
        """Queue the payload of a request that is ready; its credit is spent."""
        encoded, plan = _encoded(request), request.decision.option.plan
        self._uplink.put(
            self._path_number[plan.path],
            encoded.parts,
            request=request.id,
            level=plan.level,
            stop=self._stop,
            request_class=request.request_class,
            budget_us=self._decider.budget_us(request, now_s),
            dims=encoded.dims,
            one_by_one=request.one_by_one,
        )
        request.sent = True
        request.uplink_bytes = 0

    def pump(self, requests: Mapping[int, Request], now_s: float) -> list[Send]:
        """Return the chunks that may leave now, and count their bytes."""
        uplink = self._uplink
        if not uplink.waiting:
            return []
        messages = self._decider.pump(uplink, now_s)
        for message in messages:
            request = requests[message.request]
            request.uplink_bytes += len(message.payload)
            if isinstance(message, Infer) or not message.index:
                request.part_left_s = now_s
            request.header_bytes += size(message) - len(message.payload)
        return [Send(message) for message in messages]

    def go_on(self, request: Request) -> None:
        """Let the next refinement of a request that is sent leave."""
        self._uplink.go_on(request.id)

    def withdraw(self, request: Request) -> list[Message]:
        """Send no more of a request; return what tells the worker so."""
        uplink = self._link.uplink
        return uplink.cancel(request.id) if request.sent and uplink is not None else []

    def send_again(self, request: Request, after_s: float, now_s: float) -> None:
        """Make a request ready again after a pause that doubles with every time."""
        self.withdraw(request)
        request.sent = False
        request.attempts += 1
        pause_s = min(RETRY_S * 2 ** min(request.attempts, 10), LONGEST_RETRY_S)
        request.retry_s = now_s + max(after_s, pause_s)

    @property
    def _uplink(self) -> Uplink:
        uplink = self._link.uplink
        assert uplink is not None, "nothing is sent without a session"
        return uplink


def is_ready(request: Request) -> bool:
    """Return whether the payload of what was decided last is there and not under way."""
    if request.sent or request.encoded_for is None or request.retry_s is not None:
        return False
    option = request.decision.option
    return option.kind is OptionKind.OFFLOAD and request.encoded_for == (
        option.plan.path,
        option.plan.level,
    )


def _encoded(request: Request) -> Encoded:
    assert request.encoded is not None, "only requests that are ready are sent"
    return request.encoded
