"""Waiting: one thread sleeps until a socket is ready, it is woken, or time is up."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import zmq

WAKE_BYTES = 4096
"""Wake-ups that are taken together."""


class Reactor:
    """Where the thread that owns sockets, timers and the machine sleeps; it holds their context.

    Every method but `wake` belongs to that thread.
    """

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._descriptors: dict[zmq.Socket[bytes], int] = {}
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._poller.register(self._wake_in, zmq.POLLIN)

    def watch(self, socket: zmq.Socket[bytes], *, output: bool = False) -> None:
        """Return from `wait` when `socket` has something to read or, if asked, takes output."""
        self._poller.register(socket, zmq.POLLIN | (zmq.POLLOUT if output else 0))
        self._descriptors[socket] = int(socket.getsockopt(zmq.FD))

    def forget(self, socket: zmq.Socket[bytes]) -> None:
        """Watch `socket` no longer."""
        self._poller.unregister(socket)
        del self._descriptors[socket]

    def wake(self) -> None:
        """Make `wait` return; any thread and any signal handler may call this."""
        try:
            os.write(self._wake_out, b"\0")
        except BlockingIOError:
            pass  # the pipe is full of wake-ups already

    def wait(self, timeout_s: float | None) -> None:
        """Sleep until something is ready, at most `timeout_s` (``None``: without end)."""
        if timeout_s is None:
            ready = self._poller.poll()
        else:
            ready = self._wait_until(time.monotonic() + max(0.0, timeout_s))
        if any(found == self._wake_in for found, _ in ready):
            os.read(self._wake_in, WAKE_BYTES)

    def close(self) -> None:
        """End the context; the sockets must have been closed by whoever opened them."""
        self.context.term()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _wait_until(self, until_s: float) -> list[tuple[Any, int]]:
        """Poll for whole milliseconds, which is what ZeroMQ counts in, then for the rest.

        After an empty poll a socket's descriptor becomes readable with the next event, so that
        `select`, which counts in microseconds, may wait for it.
        """
        ready = self._poller.poll(int(1000 * max(0.0, until_s - time.monotonic())))
        rest_s = until_s - time.monotonic()
        if ready or rest_s <= 0:
            return ready
        select.select([self._wake_in, *self._descriptors.values()], [], [], rest_s)
        return self._poller.poll(0)

    @contextmanager
    def stop_signals(self, on_stop: Callable[[], None]) -> Iterator[None]:
        """Call `on_stop` at the first SIGTERM or SIGINT; the second one interrupts the program."""
        caught = 0

        def handle(signum: int, frame: FrameType | None) -> None:
            nonlocal caught
            caught += 1
            if caught > 1:
                raise KeyboardInterrupt
            on_stop()

        # The descriptor ends a poll that began between the signal and its handler.
        before_fd = signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        before = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
            signal.set_wakeup_fd(before_fd)
