"""What does a real TCP make of the link model, and what piles up when it dies? In namespaces.

The shaper ends TCP, so a sender's own buffers cannot be seen through it. Here the same `Link` lies
between two network namespaces that are joined by a pair of TUN devices: packets wait in the queue,
those that find it full are dropped, and TCP sees rate, delay and loss. Needs root.

A sender transmits as much as it can for some seconds, then the link dies; once with the kernel's
defaults and once with TCP_NOTSENT_LOWAT. With `tun_link` other programs can be run the same way.

    python benchmarks/tun_link.py --json out/tun_link.json
"""

from __future__ import annotations

import argparse
import array
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import termios
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from multiprocessing import get_context
from typing import Any

from results import parser, report

from splitnet.sim.capacity import Switched, constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import Direction, Link, Pipe
from splitnet.sim.shaper_waiter import Waiter

RATE_MBPS, ROUND_TRIP_S, QUEUE_BYTES = 50.0, 0.05, 312_500
"""The queue holds a round trip."""

TARGET_SHARE = 0.8
LOWAT_BYTES = 16_384
MTU_BYTES = 1500

WARM_UP_S, MEASURED_S, DEAD_S = 2.0, 4.0, 2.0
PORT = 5000

# linux/if_tun.h, asm-generic/ioctls.h, linux/sockios.h
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCOUTQNSD = 0x894B


@dataclass(frozen=True, slots=True)
class End:
    """A namespace at one end of the link: how to run a command there, and its address."""

    prefix: tuple[str, ...]
    address: str


@contextmanager
def tun_link(link: Link) -> Iterator[tuple[End, End]]:
    """Lay a link between two new namespaces, the device's and the cloud's, until the block ends."""
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
            ends.append(End(("ip", "netns", "exec", name), address))
        forwarder = get_context("fork").Process(target=_forward, args=(link, *descriptors))
        forwarder.start()
        stack.callback(forwarder.join)
        stack.callback(forwarder.terminate)
        yield ends[0], ends[1]


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


def _forward(link: Link, device: int, cloud: int) -> None:
    waiter = Waiter()
    ways = (_Way(link.up, device, cloud), _Way(link.down, cloud, device))
    for descriptor, way in zip((device, cloud), ways, strict=True):
        waiter.watch(descriptor, select.EPOLLIN, way.read)
    while True:
        waiter.wait(min(way.deliver(waiter.now()) for way in ways))


def main() -> int:
    """Measure, print and write; the exit code says whether TCP uses enough of the link."""
    options = parser("TCP over the link model in network namespaces.")
    options.add_argument("--role", choices=("send", "receive"), help=argparse.SUPPRESS)
    options.add_argument("--address", help=argparse.SUPPRESS)
    options.add_argument("--lowat", type=int, default=0, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.role == "send":
        return _send(chosen.address, chosen.lowat)
    if chosen.role == "receive":
        return _receive(chosen.address)
    if os.geteuid() != 0:
        print("network namespaces and TUN devices need root", file=sys.stderr)
        return 2
    cases = {"defaults": _measure(0), f"notsent_lowat_{LOWAT_BYTES}": _measure(LOWAT_BYTES)}
    met = all(case["share"] >= TARGET_SHARE for case in cases.values())
    figures = {
        "link": {"mbps": RATE_MBPS, "round_trip_s": ROUND_TRIP_S, "queue_bytes": QUEUE_BYTES},
        "cases": cases,
        "target": {"share": TARGET_SHARE},
        "met": met,
    }
    report("tun_link", figures, chosen.json)
    return 0 if met else 1


def _measure(lowat_bytes: int) -> dict[str, Any]:
    """Return goodput, its share of the link, and what the sender's TCP held at the end."""
    dies_s = 1.0 + WARM_UP_S + MEASURED_S  # a second for the processes to start
    capacity = Switched((0.0, dies_s), (constant(1e6 * RATE_MBPS), constant(0.0)))
    way = Direction(capacity, Delay((0.0,), (ROUND_TRIP_S / 2,)), QUEUE_BYTES)
    script = (sys.executable, os.path.abspath(__file__), "--role")
    with tun_link(Link(way, way)) as (device, cloud), ExitStack() as stack:

        def run(end: End, *arguments: str) -> subprocess.Popen[str]:
            command = [*end.prefix, *script, *arguments, "--address", cloud.address]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            return stack.enter_context(process)

        receiver = run(cloud, "receive")
        sender = run(device, "send", "--lowat", str(lowat_bytes))
        held = json.loads(sender.communicate(timeout=60)[0])
        receiver.terminate()
        got = json.loads(receiver.communicate(timeout=60)[0])
    return {**got, "share": round(got["mbps"] / RATE_MBPS, 3), "on_the_dead_link": held}


def _send(address: str, lowat_bytes: int) -> int:
    """Send until nothing has been taken for a while, and print what waits in this kernel."""
    data = bytes(65_536)
    with _connect(address) as sender:
        if lowat_bytes:
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, lowat_bytes)
        sender.setblocking(False)
        while select.select([], [sender], [], DEAD_S)[1]:
            sender.send(data[:LOWAT_BYTES])
        held = {"unacknowledged_bytes": _count(sender, termios.TIOCOUTQ)}
        held["of_them_unsent_bytes"] = _count(sender, SIOCOUTQNSD)
    print(json.dumps(held))
    return 0


def _connect(address: str) -> socket.socket:
    """Connect as soon as the receiver listens."""
    until_s = time.monotonic() + 10.0
    while True:
        try:
            return socket.create_connection((address, PORT), 10.0)
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.02)


def _receive(address: str) -> int:
    """Count what arrives after the warm-up, and print the rate; then wait to be ended."""
    with socket.create_server((address, PORT)) as listener:
        receiver, _ = listener.accept()
        with receiver:
            began_s = time.monotonic() + WARM_UP_S
            counted = 0
            while (now_s := time.monotonic()) < began_s + MEASURED_S - 0.5:
                nbytes = len(receiver.recv(1 << 20))
                counted += nbytes if now_s >= began_s else 0
            print(json.dumps({"mbps": round(8e-6 * counted / (now_s - began_s), 2)}), flush=True)
            while True:
                time.sleep(1.0)


def _count(connected: socket.socket, request: int) -> int:
    count = array.array("i", (0,))
    fcntl.ioctl(connected.fileno(), request, count)
    return count[0]


if __name__ == "__main__":
    sys.exit(main())
