"""A link between two network namespaces: what runs there has a TCP of its own at either end.

The shaper ends TCP, so a sender's own buffers cannot be seen through it. Here the same `Link` lies
between a pair of TUN devices: packets wait in the queue, those that find it full are dropped, and
TCP sees rate, delay and loss. Needs root.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from multiprocessing import get_context
from multiprocessing.synchronize import Event

from splitnet.sim.link import Direction, Link, Pipe
from splitnet.sim.shaper_waiter import Waiter

MTU_BYTES = 1500

# linux/if_tun.h
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

_RECEIVED = re.compile(r"\bbytes_received:(\d+)")


@dataclass(frozen=True, slots=True)
class End:
    """A namespace at one end of the link, and its address."""

    name: str
    address: str

    def command(self, command: Sequence[str]) -> list[str]:
        """Return what runs a command in this namespace."""
        return ["ip", "netns", "exec", self.name, *command]

    def received_bytes(self, port: int) -> int:
        """Return what has arrived for the connection that was accepted at `port`, 0 without one."""
        query = ["ss", "-tinH", "state", "established", "sport", "=", f":{port}"]
        found = subprocess.run(self.command(query), check=True, capture_output=True, text=True)
        return max(map(int, _RECEIVED.findall(found.stdout)), default=0)


@dataclass(frozen=True, slots=True)
class Joined:
    """The two ends of a link, and what makes it lose everything from now on."""

    device: End
    cloud: End
    stall: Callable[[], None]


@contextmanager
def tun_link(link: Link, congestion: str) -> Iterator[Joined]:
    """Lay a link between two new namespaces until the block ends.

    Parameters
    ----------
    congestion
        TCP's congestion control at both ends.
    """
    with ExitStack() as stack:
        descriptors, ends = [], []
        for number, side in enumerate("dc", 1):
            name = f"splitnet{os.getpid()}{side}"
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            descriptors.append(_tun(name))
            stack.callback(os.close, descriptors[-1])
            address = f"10.77.0.{number}"
            _ip("link", "set", name, "netns", name)
            _ip("-n", name, "address", "add", f"{address}/24", "dev", name)
            _ip("-n", name, "link", "set", name, "mtu", str(MTU_BYTES), "up")
            _ip("-n", name, "link", "set", "lo", "up")
            route = ("10.77.0.0/24", "dev", name, "src", address, "congctl", congestion)
            _ip("-n", name, "route", "replace", *route)
            ends.append(End(name, address))
        context = get_context("fork")
        dead = context.Event()
        forwarder = context.Process(target=_forward, args=(link, dead, *descriptors))
        forwarder.start()
        stack.callback(forwarder.join)
        stack.callback(forwarder.terminate)
        yield Joined(ends[0], ends[1], dead.set)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


class _Way:
    """Packets from one TUN device to the other."""

    def __init__(self, direction: Direction, source: int, sink: int) -> None:
        self._pipe = Pipe(direction)
        self._source = source
        self._sink = sink
        self._packets: deque[tuple[float, bytes]] = deque()

    def read(self, events: int, now_s: float) -> None:
        """Take the packets that wait; those for which the queue has no room are lost."""
        try:
            while packet := os.read(self._source, MTU_BYTES):
                if self._pipe.room_bytes(now_s) >= len(packet):
                    self._packets.append((self._pipe.send(now_s, len(packet)), packet))
        except BlockingIOError:
            return

    def deliver(self, now_s: float) -> float:
        """Hand over what has arrived, and return when the next packet does."""
        while self._packets and self._packets[0][0] <= now_s:
            try:
                os.write(self._sink, self._packets.popleft()[1])
            except BlockingIOError:
                pass  # a receiver that does not keep up loses packets, as everywhere
        return self._packets[0][0] if self._packets else inf


def _forward(link: Link, dead: Event, device: int, cloud: int) -> None:
    waiter = Waiter()
    ways = (_Way(link.up, device, cloud), _Way(link.down, cloud, device))
    for descriptor, way in zip((device, cloud), ways, strict=True):
        waiter.watch(descriptor, select.EPOLLIN, way.read)
    while not dead.is_set():
        waiter.wait(min(way.deliver(waiter.now()) for way in ways))
    while True:
        for descriptor in select.select((device, cloud), (), ())[0]:
            os.read(descriptor, MTU_BYTES)
