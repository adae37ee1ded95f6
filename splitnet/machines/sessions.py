"""The agents that are connected to a worker: who they are, whether they live, what they were told.

Nothing here takes longer with more sessions: they are kept in the order in which they were heard,
and those that are owed an acknowledgement in the order in which it is due.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from math import inf
from typing import TypeAlias

from splitnet.bundle import Contract
from splitnet.errors import WireCode
from splitnet.machines.session import Session
from splitnet.machines.worker_config import WorkerConfig
from splitnet.wire import (
    MISSED_HEARTBEATS,
    PROTOCOL_VERSION,
    Credit,
    Hello,
    ProgressAck,
    Welcome,
    size,
)

Refusal: TypeAlias = tuple[WireCode, str]
"""Why something is not accepted: a code for the agent, and a line for people."""


class Sessions:
    """The sessions of one run of a worker."""

    def __init__(self, contracts: Mapping[int, Contract], config: WorkerConfig, epoch: int) -> None:
        self._config = config
        self._epoch = epoch
        self._served = ", ".join(contract.name for contract in contracts.values())
        self._paths = {
            contract.path_hash(path.id): (handle, number)
            for handle, contract in contracts.items()
            for number, path in enumerate(contract.paths)
        }
        self._silence_s = MISSED_HEARTBEATS * config.heartbeat_s
        self._heard: OrderedDict[int, Session] = OrderedDict()
        self._owed: OrderedDict[int, Session] = OrderedDict()
        self._of_peer: dict[bytes, Session] = {}
        self._last_session = 0

    def __len__(self) -> int:
        """Return the number of open sessions."""
        return len(self._heard)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over the open sessions."""
        return iter(self._heard.values())

    def get(self, number: int) -> Session | None:
        """Return the session of this number."""
        return self._heard.get(number)

    def of_peer(self, peer: bytes) -> Session | None:
        """Return the session of a connection."""
        return self._of_peer.get(peer)

    # --- beginning and end ----------------------------------------------------------------------

    def refusal(self, hello: Hello) -> Refusal | None:
        """Return why an agent cannot be served at all, ``None`` if it can."""
        if PROTOCOL_VERSION not in hello.versions:
            spoken = ", ".join(map(str, hello.versions))
            detail = f"this worker speaks version {PROTOCOL_VERSION}, the agent {spoken}"
            return WireCode.VERSION, detail
        if not any(map(self._paths.get, hello.paths)):
            detail = (
                f"no path in common: this worker serves {self._served}; "
                "use one bundle on both sides"
            )
            return WireCode.INCOMPATIBLE, detail
        return None

    def open(self, peer: bytes, hello: Hello, now_s: float) -> tuple[Session, Welcome]:
        """Begin the session of an agent that is not refused."""
        config = self._config
        self._last_session += 1
        session = Session(
            id=self._last_session,
            peer=peer,
            device=hello.device,
            max_reply_bytes=hello.max_reply_bytes,
            heard_s=now_s,
            granted_requests=config.window_requests,
            granted_bytes=config.window_bytes,
        )
        self._heard[session.id] = self._of_peer[peer] = session
        self.hear(session, size(hello), now_s)
        return session, Welcome(
            session=session.id,
            epoch=self._epoch,
            handles=tuple(map(self._paths.get, hello.paths)),
            missing_tables=(),
            max_request_bytes=config.max_request_bytes,
            max_chunk_bytes=config.max_chunk_bytes,
            credit_requests=session.granted_requests,
            credit_bytes=session.granted_bytes,
            heartbeat_ms=round(1000 * config.heartbeat_s),
        )

    def close(self, session: Session) -> None:
        """Forget a session."""
        del self._heard[session.id], self._of_peer[session.peer]
        self._owed.pop(session.id, None)

    # --- life -----------------------------------------------------------------------------------

    @property
    def due_s(self) -> float:
        """When a session is silent for too long or owed an acknowledgement, infinite for never."""
        if not self._heard:
            return inf
        silent_s = next(iter(self._heard.values())).heard_s + self._silence_s
        if not self._owed:
            return silent_s
        return min(silent_s, next(iter(self._owed.values())).ack_due_s)

    def hear(self, session: Session, nbytes: int, now_s: float) -> None:
        """Note that a message of `nbytes` has come."""
        session.hear(nbytes, now_s)
        self._heard.move_to_end(session.id)
        self._owed[session.id] = session
        if session.ack_due_s <= now_s:
            self._owed.move_to_end(session.id, last=False)

    def replied(self, session: Session, heard_bytes: int) -> None:
        """Note that a reply tells the agent that `heard_bytes` have arrived."""
        if session.told(heard_bytes):
            self._owed.pop(session.id, None)

    def silent(self, now_s: float) -> list[Session]:
        """Return the sessions that have been silent for too long."""
        found = []
        for session in self._heard.values():
            if now_s < session.heard_s + self._silence_s:
                break
            found.append(session)
        return found

    def acknowledge(self, now_s: float) -> list[tuple[Session, ProgressAck]]:
        """Return the acknowledgements that are due."""
        acks = []
        while self._owed:
            number, session = next(iter(self._owed.items()))
            ack = session.acknowledge(now_s)
            if ack is None:
                break
            del self._owed[number]
            acks.append((session, ack))
        return acks

    def renew(self, session: Session) -> Credit | None:
        """Return the next grant of credit to an open session if it is time."""
        if session.id not in self._heard:
            return None
        config = self._config
        return session.renew(config.window_requests, config.window_bytes, config.max_request_bytes)
