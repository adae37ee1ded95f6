"""What `tun_link.py` compares with: a plain TCP and a plain ZeroMQ that send all they can.

    python benchmarks/plain_transport.py receive tcp|zmq ADDRESS PORT
    python benchmarks/plain_transport.py send tcp|zmq ADDRESS PORT SAMPLES [--bounded]

Messages have the size of splitnet's chunks. ``--bounded`` sets TCP_NOTSENT_LOWAT, and for ZeroMQ a
high-water mark of 1.
"""

from __future__ import annotations

import argparse
import select
import socket
import sys
import time
from pathlib import Path

import zmq
from hidden_bytes import watch

from splitnet.machines.pacing import CALM_CHUNK_BYTES
from splitnet.transport.dealer import SEND_HWM
from splitnet.transport.frames import receive_event
from splitnet.transport.tcp_info import UNSENT_BYTES, limit_unsent


def main() -> int:
    """Send or receive until the process is ended."""
    options = argparse.ArgumentParser()
    options.add_argument("role", choices=("receive", "send"))
    options.add_argument("transport", choices=("tcp", "zmq"))
    options.add_argument("address")
    options.add_argument("port", type=int)
    options.add_argument("samples", type=Path, nargs="?")
    options.add_argument("--bounded", action="store_true")
    chosen = options.parse_args()
    tcp = chosen.transport == "tcp"
    if chosen.role == "receive":
        (_receive_tcp if tcp else _receive_zmq)(chosen.address, chosen.port)
    else:
        watch(chosen.samples, chosen.port, zmq_framing_bytes=None if tcp else 0)
        (_send_tcp if tcp else _send_zmq)(chosen.address, chosen.port, chosen.bounded)
    return 0


def _receive_tcp(address: str, port: int) -> None:
    with socket.create_server((address, port)) as listener:
        receiver, _ = listener.accept()
        with receiver:
            while receiver.recv(1 << 20):
                pass


def _receive_zmq(address: str, port: int) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"tcp://{address}:{port}")
        while router.recv_multipart():
            pass


def _send_tcp(address: str, port: int, bounded: bool) -> None:
    data = bytes(CALM_CHUNK_BYTES)
    with _connect(address, port) as sender:
        if bounded:
            limit_unsent(sender.fileno(), UNSENT_BYTES)
        sender.setblocking(False)
        while True:
            select.select([], [sender], [])
            sender.send(data)


def _connect(address: str, port: int) -> socket.socket:
    """Connect as soon as the receiver listens."""
    until_s = time.monotonic() + 10.0
    while True:
        try:
            return socket.create_connection((address, port), 10.0)
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.02)


def _send_zmq(address: str, port: int, bounded: bool) -> None:
    data = bytes(CALM_CHUNK_BYTES)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        monitor = dealer.get_monitor_socket(zmq.EVENT_CONNECTED)
        if bounded:
            dealer.setsockopt(zmq.SNDHWM, SEND_HWM)
        dealer.connect(f"tcp://{address}:{port}")
        monitor.poll()
        connected = receive_event(monitor)
        if bounded and connected is not None:
            limit_unsent(connected[1], UNSENT_BYTES)
        while dealer.poll(flags=zmq.POLLOUT):
            dealer.send_multipart([data], zmq.NOBLOCK)


if __name__ == "__main__":
    sys.exit(main())
