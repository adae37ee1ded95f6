"""The gate of a worker or a directory: who may connect, asked by ZeroMQ for every connection.

ZeroMQ asks at a fixed address within the context (ZAP, ZeroMQ RFC 27), so that a reactor has at
most one gate. It is answered by the thread that owns the reactor: there is no thread for it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path

import zmq
from zmq.utils import z85

from splitnet.errors import ConfigError, TransportError
from splitnet.transport.allow_list import AllowList
from splitnet.transport.frames import receive
from splitnet.transport.keys import KeyKind, KeyPair, PublicKey, read_pair
from splitnet.transport.reactor import Reactor

log = logging.getLogger(__name__)

ENDPOINT = "inproc://zeromq.zap.01"
DOMAIN = b"splitnet"
VERSION = b"1.0"
ALLOWED, REFUSED = b"200", b"400"

REFRESH_S = 1.0
"""Longest time until a change of the allow-list reaches a device that is connected."""

REMEMBERED_KEYS = 1024
"""Refused and shared keys that are told apart, so that strangers cannot fill the memory."""

QUESTIONS = 64
"""Questions answered at once, so that a flood does not keep the reactor from its other work."""

QUESTION_FRAMES = 9
"""Peer, delimiter, version, request, domain, address, identity, mechanism, key."""

CURVE_FRAMES = 3
"""Identity, mechanism, key; other mechanisms have none or two credentials."""


class Gate:
    """The key pair of a server, and the list of the keys that may connect to it.

    A key says that a device may come, not which one it is: two devices with one key both work, but
    a key that comes from a second address is reported.
    """

    def __init__(self, own: KeyPair, allowed: AllowList) -> None:
        self._own = own
        self._allowed = allowed
        self._refreshed_s = 0.0
        self._refusals: Counter[str] = Counter()
        self._addresses: dict[str, str] = {}
        self._shared: set[str] = set()
        self.revoking = False
        self.refused = 0

    @property
    def public(self) -> PublicKey:
        """The key that those who connect must know."""
        return self._own.public

    def open(self, reactor: Reactor) -> None:
        """Begin to answer ZeroMQ's questions, before the first socket binds.

        Raises
        ------
        TransportError
            The reactor has a gate already.
        """
        self._reactor = reactor
        self._socket = reactor.context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(ENDPOINT)
        except zmq.ZMQError as error:
            self._socket.close()
            raise TransportError("a process can have one socket with keys, not two") from error
        reactor.watch(self._socket)

    def close(self) -> None:
        """Answer nothing more; nobody can connect from now on."""
        self._reactor.forget(self._socket)
        self._socket.close(linger=0)
        if self.refused:
            log.warning("refused handshakes=%d keys=%d", self.refused, len(self._refusals))

    def guard(self, server: zmq.Socket[bytes]) -> None:
        """Make a socket, not bound yet, let in only whom the gate lets in."""
        server.setsockopt(zmq.CURVE_SERVER, 1)
        server.setsockopt(zmq.CURVE_SECRETKEY, self._own.secret.encode())
        server.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        server.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def serve(self) -> None:
        """Answer what was asked, and look now and then whether the list has changed."""
        now_s = time.monotonic()
        if now_s - self._refreshed_s >= REFRESH_S:
            self._refresh(now_s)
        for _ in range(QUESTIONS):
            question = receive(self._socket, QUESTION_FRAMES)
            if question is None:
                return
            self._refresh(now_s)
            self._socket.send_multipart(self._answer(question))

    def allows(self, public: str) -> bool:
        """Return whether a key may (still) be connected."""
        return public in self._allowed

    def _refresh(self, now_s: float) -> None:
        self._refreshed_s = now_s
        self.revoking |= self._allowed.refresh()

    def _answer(self, question: list[bytes]) -> list[bytes]:
        peer, _, version, request, _, address, *rest = question
        _, mechanism, key = rest if len(rest) == CURVE_FRAMES else (b"", b"", b"")
        public = z85.encode(key).decode() if mechanism == b"CURVE" else ""
        allowed = self.allows(public)
        if allowed:
            self._note_address(public, address.decode())
        else:
            self._note_refusal(public, address.decode())
        status = ALLOWED if allowed else REFUSED
        return [peer, b"", version, request, status, b"", public.encode(), b""]

    def _note_refusal(self, public: str, address: str) -> None:
        self.refused += 1
        if public not in self._refusals and len(self._refusals) < REMEMBERED_KEYS:
            log.warning("refused unknown key=%s address=%s", public, address)
            self._refusals[public] = 0
        if public in self._refusals:
            self._refusals[public] += 1

    def _note_address(self, public: str, address: str) -> None:
        before = self._addresses.setdefault(public, address)
        if before != address and public not in self._shared:
            self._shared.add(public)
            log.warning(
                "shared key=%s name=%r addresses=%s,%s; give every device a key of its own",
                public,
                self._allowed.name(public),
                before,
                address,
            )


def open_gate(key: Path | None, allow: Path | None, kind: KeyKind) -> Gate | None:
    """Return the gate for what was given as ``--key`` and ``--allow``, ``None`` if nothing was.

    Raises
    ------
    ConfigError
        Only one of both is given, or one of them cannot be used.
    TransportError
        ZeroMQ was built without CURVE.
    """
    if key is None and allow is None:
        return None
    if key is None:
        raise ConfigError(f"--allow needs --key, the secret key of this {kind}")
    if allow is None:
        raise ConfigError("--key needs --allow, the list of the keys that may connect")
    own = read_pair(key, kind)
    allowed = AllowList(allow)
    allowed.load()
    return Gate(own, allowed)
