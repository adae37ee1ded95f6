"""How much of what a program has sent waits where it cannot be taken back.

That is ZeroMQ's queue, which is what a socket took less what the kernel has of it, and what the
kernel has not sent once. A thread looks at both; any command of splitnet can be run beside it:

    python benchmarks/hidden_bytes.py SAMPLES PORT edge run ...
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from splitnet.transport.frames import CURVE_BYTES

INTERVAL_S = 0.01
"""Time between two samples."""

# linux/tcp.h, struct tcp_info: since Linux 4.19 it ends behind these members or later.
_NOTSENT = struct.Struct("=144xI")
_SENT_AND_AGAIN = struct.Struct("=200xQQ")
_INFO_BYTES = 256


@dataclass(frozen=True, slots=True)
class Sample:
    """One look.

    Attributes
    ----------
    at_s
        Time, of the clock that all processes of this machine share.
    handed_bytes
        What sockets of ZeroMQ have taken so far, with its framing.
    taken_bytes, unsent_bytes
        What the kernel has taken so far, and what of it was not sent once.
    """

    at_s: float
    handed_bytes: int
    taken_bytes: int
    unsent_bytes: int


@dataclass(frozen=True, slots=True)
class Hidden:
    """What was hidden at a time, in ZeroMQ's queue and in the kernel."""

    at_s: float
    queued_bytes: int
    unsent_bytes: int


class _Counter:
    """What the sockets of ZeroMQ have taken; the lock keeps a look out of the middle of a send."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.handed_bytes = 0

    def begin(self, framing_bytes: int) -> None:
        """Count from now on, as on the wire (ZMTP 3.1); nobody may block in a send."""
        send = zmq.Socket.send_multipart

        def counted(socket: Any, frames: Any, *arguments: Any, **options: Any) -> Any:
            with self.lock:
                result = send(socket, frames, *arguments, **options)
                sizes = [len(frame) + framing_bytes for frame in frames]
                self.handed_bytes += sum(size + (2 if size < 256 else 9) for size in sizes)
            return result

        zmq.Socket.send_multipart = counted  # type: ignore[assignment, method-assign]


def watch(file: Path, port: int, *, zmq_framing_bytes: int | None) -> None:
    """Begin to write samples of this process's connection to `port`, until the process ends.

    Parameters
    ----------
    zmq_framing_bytes
        What encryption adds to a frame; ``None`` if the program writes to the kernel itself.
    """
    counter = _Counter()
    if zmq_framing_bytes is not None:
        counter.begin(zmq_framing_bytes)
    threading.Thread(target=_sample, args=(file, port, counter), daemon=True).start()


def read_samples(file: Path) -> list[Hidden]:
    """Return what was hidden at each sample in a file.

    The handshake is the kernel's alone: it is the smallest difference that was seen.
    """
    samples = [Sample(float(at), *map(int, rest)) for at, *rest in map(str.split, file.open())]
    queued = [s.handed_bytes - s.taken_bytes if s.handed_bytes else 0 for s in samples]
    empty = min(queued)
    return [
        Hidden(sample.at_s, nbytes - empty if sample.handed_bytes else 0, sample.unsent_bytes)
        for sample, nbytes in zip(samples, queued, strict=True)
    ]


def _sample(file: Path, port: int, counter: _Counter) -> None:
    connection = None
    with file.open("w", buffering=1) as out:
        while True:
            time.sleep(INTERVAL_S)
            connection = connection or _connection(port)
            if connection is not None:
                with counter.lock:
                    handed = counter.handed_bytes
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
                (unsent,) = _NOTSENT.unpack_from(info)
                sent, again = _SENT_AND_AGAIN.unpack_from(info)
                out.write(f"{time.monotonic():.4f} {handed} {sent - again + unsent} {unsent}\n")


def _connection(port: int) -> socket.socket | None:
    """Return this process's connection to a port, as a descriptor of its own."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found = socket.socket(fileno=os.dup(int(name))) if _is_socket(name) else None
            if found is not None and found.getpeername()[1:2] == (port,):
                return found
    return None


def _is_socket(name: str) -> bool:
    return os.readlink(f"/proc/self/fd/{name}").startswith("socket:")


def main() -> int:
    """Run a command of splitnet with keys, and take samples of its connection."""
    file, port, *arguments = sys.argv[1:]
    watch(Path(file), int(port), zmq_framing_bytes=CURVE_BYTES)
    from splitnet.cli import main as splitnet

    return splitnet(arguments)


if __name__ == "__main__":
    sys.exit(main())
