"""Does the shaper keep rate and delay? Both ends measured from outside, at the two sockets.

A client that always has more to send and a receiver that reads at once, one thread for both, with
the shaper as a process between them: bytes received in windows of 1 s against the rate asked for.
Then single small payloads at random times: their one-way time against delay plus link time. The
baseline in the same run is the loopback without the shaper. The shaper's own report stands beside
each figure, with the lateness of its timers, which no user-space shaper can undercut.

    python benchmarks/shaper.py --json out/shaper.json
"""

from __future__ import annotations

import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from results import parser, percentile, report

from splitnet.processes import ShaperProcess, shaper_process

RATES_MBPS = (0.1, 0.5, 5.0, 50.0, 200.0)
DELAYS_MS = (5, 20, 100)
DELAY_RATE_MBPS, PAYLOAD_BYTES, MEAN_GAP_S = 50.0, 200, 0.01

TARGET_RATE_PERCENT, TARGET_DELAY_MS = 2.0, 1.0
EXACT_FROM_MBPS, PACKET_BYTES = 0.5, 1500
"""Below that rate a single packet is more than the share allowed, so one packet is."""

WARM_UP_S, WINDOW_S = 1.0, 1.0
QUEUE_S, LEAST_QUEUE_BYTES = 0.04, 65_536
SEND_BUFFER_BYTES = 4 << 20
"""So that a sender that is scheduled late still has something to send."""

STAMP = struct.Struct("<d")

Pair = tuple[socket.socket, socket.socket]


def main() -> int:
    """Measure, print and write; the exit code says whether the targets are met."""
    options = parser("Errors of rate and delay of the shaper.")
    options.add_argument("--windows", type=int, default=4, help="windows of 1 s at each rate")
    options.add_argument("--payloads", type=int, default=300, help="payloads at each delay")
    chosen = options.parse_args()
    rates = [_rate(mbps, ("up",), chosen.windows) for mbps in RATES_MBPS]
    rates.append(_rate(20.0, ("up", "down"), chosen.windows))
    delays = [_delay(ms, chosen.payloads) for ms in DELAYS_MS]
    met = all(case["met"] for case in rates + delays)
    figures = {
        "rates": rates,
        "delays": delays,
        "loopback": _loopback(chosen.payloads),
        "without_limit_mbps": _without_limit(),
        "target": {"rate_percent": TARGET_RATE_PERCENT, "delay_p95_ms": TARGET_DELAY_MS},
        "met": met,
    }
    report("shaper", figures, chosen.json)
    return 0 if met else 1


def _rate(mbps: float, ways: tuple[str, ...], windows: int) -> dict[str, Any]:
    queue_bytes = max(LEAST_QUEUE_BYTES, int(QUEUE_S * mbps * 1e6 / 8))
    options = ("--rate", f"{mbps}mbit", "--delay", "10ms", "--queue-bytes", str(queue_bytes))
    with _connected(*options) as (shaper, client, server):
        pairs = {"up": (client, server), "down": (server, client)}
        got = _windows([pairs[way] for way in ways], windows)
    asked = mbps * 1e6 / 8 * WINDOW_S
    off_bytes = max(abs(nbytes - asked) for nbytes in got)
    allowed = asked * TARGET_RATE_PERCENT / 100 if mbps >= EXACT_FROM_MBPS else PACKET_BYTES
    return {
        "asked_mbps": mbps,
        "ways": "+".join(ways),
        "queue_bytes": queue_bytes,
        "windows_mbps": [round(8e-6 * nbytes / WINDOW_S, 4) for nbytes in got],
        "error_percent_max": round(100 * off_bytes / asked, 3),
        "error_bytes_max": round(off_bytes),
        "met": off_bytes <= allowed,
        "shaper": _of_report(shaper, ways),
    }


def _windows(pairs: list[Pair], windows: int) -> list[int]:
    """Return the bytes that each pair received in each window, one pair after the other."""
    data = bytes(65_536)
    senders, receivers = (list(sockets) for sockets in zip(*pairs, strict=True))
    counts = [[0] * (windows + 1) for _ in pairs]
    began_s = time.perf_counter() + WARM_UP_S
    while (now_s := time.perf_counter()) < began_s + windows * WINDOW_S:
        readable, writable, _ = select.select(receivers, senders, [], 0.1)
        now_s = time.perf_counter()
        window = int((now_s - began_s) / WINDOW_S) if now_s >= began_s else windows
        for index, receiver in enumerate(receivers):
            if receiver in readable:
                counts[index][min(window, windows)] += len(receiver.recv(1 << 20))
        for sender in writable:
            _send_some(sender, data)
    return [nbytes for of_pair in counts for nbytes in of_pair[:windows]]


def _delay(delay_ms: int, payloads: int) -> dict[str, Any]:
    options = ("--rate", f"{DELAY_RATE_MBPS}mbit", "--delay", f"{delay_ms}ms")
    with _connected(*options) as (shaper, client, server):
        one_way_s = _one_way_s(client, server, payloads)
    expected_s = delay_ms / 1000 + PAYLOAD_BYTES * 8 / (DELAY_RATE_MBPS * 1e6)
    off_ms = [1000 * abs(seconds - expected_s) for seconds in one_way_s]
    return {
        "delay_ms": delay_ms,
        "error_ms": _quantiles(off_ms),
        "met": percentile(off_ms, 95) <= TARGET_DELAY_MS,
        "shaper": _of_report(shaper, ("up",)),
    }


def _one_way_s(client: socket.socket, server: socket.socket, payloads: int) -> list[float]:
    """Send payloads at random times and return how long each was under way."""
    gaps = random.Random(0)
    one_way_s: list[float] = []
    buffer = b""
    sent, next_s = 0, time.perf_counter() + 0.2
    while len(one_way_s) < payloads:
        wait_s = next_s - time.perf_counter() if sent < payloads else 5.0
        if select.select([server], [], [], max(0.0, wait_s))[0]:
            buffer += server.recv(65_536)
            arrived_s = time.perf_counter()
            while len(buffer) >= PAYLOAD_BYTES:
                one_way_s.append(arrived_s - STAMP.unpack_from(buffer)[0])
                buffer = buffer[PAYLOAD_BYTES:]
        elif sent < payloads:
            client.send(STAMP.pack(time.perf_counter()).ljust(PAYLOAD_BYTES, b"\0"))
            next_s += gaps.expovariate(1 / MEAN_GAP_S)
            sent += 1
    return one_way_s


def _loopback(payloads: int) -> dict[str, Any]:
    """Measure the same without a shaper."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = _client(listener.getsockname()[1])
        server, _ = listener.accept()
        with client, server:
            one_way_ms = [1000 * seconds for seconds in _one_way_s(client, server, payloads)]
            got = _windows([(client, server)], 1)
    return {"one_way_ms": _quantiles(one_way_ms), "mbps": round(8e-6 * got[0])}


def _without_limit() -> int:
    """Return the rate of a shaper that is asked for more than it can do."""
    with _connected("--rate", "100gbit", "--queue-bytes", "1000000") as (_, client, server):
        return round(8e-6 * _windows([(client, server)], 1)[0])


@contextmanager
def _connected(
    *options: str,
) -> Iterator[tuple[ShaperProcess, socket.socket, socket.socket]]:
    """Run a shaper and yield it with the two ends of a connection through it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        with shaper_process(to, *options) as shaper:
            client = _client(int(shaper.endpoint.rpartition(":")[2]))
            server, _ = listener.accept()
            _prepare(server)
            with client, server:
                yield shaper, client, server


def _client(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    _prepare(client)
    return client


def _prepare(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    connected.setblocking(False)


def _send_some(sender: socket.socket, data: bytes) -> None:
    try:
        sender.send(data)
    except BlockingIOError:
        pass  # select is more hopeful than the kernel


def _of_report(shaper: ShaperProcess, ways: tuple[str, ...]) -> dict[str, Any]:
    found = shaper.report
    return {
        "timer_lateness_ms": found["timer_lateness_ms"],
        **{way: {k: found[way][k] for k in ("delay_error_ms", "windows_1s")} for way in ways},
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    quantiles = {f"p{q}": round(percentile(values, q), 3) for q in (50, 95)}
    return {**quantiles, "max": round(max(values), 3)}


if __name__ == "__main__":
    sys.exit(main())
