"""Does splitnet fill a link, and how much does it hide when the link dies? In network namespaces.

A real edge sends payloads of 4 MB to a real worker over a link of 50 Mbit/s with a round trip of
50 ms; in the middle of a payload the link stalls. Beside it, in the same run: ZeroMQ and plain TCP
with their defaults and with splitnet's bounds, sending as much as they can. What is hidden is what
ZeroMQ's queue holds and what the kernel has not sent once: neither can be taken back.

    python benchmarks/tun_link.py --json out/tun_link.json

Needs root, iproute2 and, to build the bundle, the extra build.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curve_keys import new_keys
from hidden_bytes import Hidden, read_samples
from identity_bundle import PATH, open_bundle_of, write_samples
from namespaces import Joined, tun_link
from results import parser, percentile, report

from splitnet.sim.capacity import constant
from splitnet.sim.delay import Delay
from splitnet.sim.link import Direction, Link

HERE = Path(__file__).parent
PORT = 5555

TARGET_SHARE, TARGET_HIDDEN_BYTES = 0.8, 50_000

START_S, WARM_UP_S, DEAD_S = 30.0, 3.0, 2.0
"""Patience for the first bytes, then time that is not measured, and time on the dead link.

The edge gives a silent worker up after 3 s.
"""

IN_FLIGHT = 3
"""Payloads under way: enough that one always waits behind the one that is being sent."""


@dataclass(frozen=True, slots=True)
class Case:
    """A receiver and a sender: their commands, for an address and a file of samples."""

    receive: Callable[[str], list[str]]
    send: Callable[[str, Path], list[str]]


def main() -> int:
    """Measure, print and write; the exit code says whether splitnet meets its targets."""
    chosen = _options().parse_args()
    if os.geteuid() != 0:
        print("network namespaces and TUN devices need root", file=sys.stderr)
        return 2
    bytes_per_s = 1e6 * chosen.mbps / 8
    queue_bytes = int(bytes_per_s * chosen.round_trip_ms / 1e3)
    delay = Delay((0.0,), (chosen.round_trip_ms / 2e3,))
    way = Direction(constant(8 * bytes_per_s), delay, queue_bytes)
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: _measure(case, Link(way, way), chosen, Path(folder) / name)
            for name, case in _cases(Path(folder), chosen.bundles).items()
        }
    splitnet = found["splitnet"]
    met = splitnet["share"] >= TARGET_SHARE and splitnet["met_hidden"]
    figures = {
        "link": {
            "mbps": chosen.mbps,
            "round_trip_ms": chosen.round_trip_ms,
            "queue_bytes": queue_bytes,
            "congestion": chosen.congestion,
        },
        "cases": found,
        "target": {"share": TARGET_SHARE, "hidden_bytes": TARGET_HIDDEN_BYTES},
        "met": met,
    }
    report("tun_link", figures, chosen.json)
    return 0 if met else 1


def _options() -> argparse.ArgumentParser:
    options = parser("splitnet, ZeroMQ and TCP over a link that dies.")
    options.add_argument("--mbps", type=float, default=50.0)
    options.add_argument("--round-trip-ms", type=float, default=50.0)
    options.add_argument("--congestion", default="cubic", help="TCP's congestion control")
    options.add_argument("--seconds", type=float, default=5.0, help="measured before the link dies")
    options.add_argument("--bundles", type=Path, help="folder of identity_bundle.py")
    return options


def _cases(folder: Path, bundles: Path | None) -> dict[str, Case]:
    """Return what is compared; splitnet needs keys, since this is not loopback."""
    cases = {"splitnet": _splitnet(folder, bundles or folder)}
    for transport in ("zmq", "tcp"):
        cases[f"{transport}_defaults"] = _plain(transport)
        cases[f"{transport}_bounded"] = _plain(transport, "--bounded")
    return cases


def _splitnet(folder: Path, bundles: Path) -> Case:
    bundle = str(open_bundle_of("large", bundles))
    source = str(write_samples(folder / "source.npz", 4, "large"))
    keys = new_keys(folder)

    def receive(address: str) -> list[str]:
        command = [sys.executable, "-m", "splitnet", "cloud", "serve", "--bundle", bundle]
        return [*command, "--bind", f"tcp://{address}:{PORT}", *keys.cloud]

    def send(address: str, samples: Path) -> list[str]:
        command = [sys.executable, str(HERE / "hidden_bytes.py"), str(samples), str(PORT)]
        command += ["edge", "run", "--bundle", bundle, "--connect", f"tcp://{address}:{PORT}"]
        command += ["--source", source, "--repeat", "1000", "--max-inflight", str(IN_FLIGHT)]
        return [*command, "--policy", f"fixed:plan={PATH}@0", *keys.edge]

    return Case(receive, send)


def _plain(transport: str, *options: str) -> Case:
    command = [sys.executable, str(HERE / "plain_transport.py")]
    return Case(
        lambda address: [*command, "receive", transport, address, str(PORT)],
        lambda address, samples: [
            *command, "send", transport, address, str(PORT), str(samples), *options
        ],
    )  # fmt: skip


def _measure(case: Case, link: Link, chosen: argparse.Namespace, samples: Path) -> dict[str, Any]:
    """Return the goodput at the receiver, and what the sender hid until the link died and then."""
    with tun_link(link, chosen.congestion) as joined, ExitStack() as stack:
        address = joined.cloud.address
        stack.enter_context(_running(joined.cloud.command(case.receive(address))))
        stack.enter_context(_running(joined.device.command(case.send(address, samples))))
        _wait_for_bytes(joined)
        time.sleep(WARM_UP_S)
        began_s, began_bytes = time.monotonic(), joined.cloud.received_bytes(PORT)
        time.sleep(chosen.seconds)
        died_s, died_bytes = time.monotonic(), joined.cloud.received_bytes(PORT)
        joined.stall()
        time.sleep(DEAD_S)
        ended_s = time.monotonic()
    hidden = read_samples(samples)
    alive = _figures([one for one in hidden if began_s <= one.at_s < died_s])
    dead = _figures([one for one in hidden if died_s <= one.at_s < ended_s])
    mbps = 8e-6 * (died_bytes - began_bytes) / (died_s - began_s)
    most = max(alive["hidden_bytes"]["max"], dead["hidden_bytes"]["max"])
    return {
        "mbps": round(mbps, 2),
        "share": round(mbps / chosen.mbps, 3),
        "until_the_link_died": alive,
        "on_the_dead_link": dead,
        "met_hidden": most <= TARGET_HIDDEN_BYTES,
    }


def _figures(hidden: Sequence[Hidden]) -> dict[str, Any]:
    queued = [one.queued_bytes for one in hidden]
    unsent = [one.unsent_bytes for one in hidden]
    both = [sum(pair) for pair in zip(queued, unsent, strict=True)]
    return {
        "samples": len(hidden),
        "hidden_bytes": {"p50": percentile(both, 50), "max": max(both)},
        "in_zeromq_max": max(queued),
        "unsent_max": max(unsent),
    }


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def _wait_for_bytes(joined: Joined) -> None:
    until_s = time.monotonic() + START_S
    while joined.cloud.received_bytes(PORT) == 0:
        if time.monotonic() > until_s:
            raise TimeoutError(f"nothing has arrived after {START_S:g} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
