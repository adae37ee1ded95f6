"""Keys for a worker and a device of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import zmq

from splitnet.transport.allow_list import allow
from splitnet.transport.keys import ClientKeys, new_pair, write_pair


@dataclass(frozen=True, slots=True)
class BenchKeys:
    """Options of the cloud and of the edge that give keys, and the keys of a socket."""

    cloud: tuple[str, ...]
    edge: tuple[str, ...]
    client: ClientKeys
    worker_secret: str

    def secure(self, dealer: zmq.Socket[bytes]) -> None:
        """Make a socket that connects use the device's keys."""
        dealer.curve_serverkey = self.client.server.text.encode()
        dealer.curve_publickey = self.client.own.public.text.encode()
        dealer.curve_secretkey = self.client.own.secret.encode()

    def guard(self, router: zmq.Socket[bytes]) -> None:
        """Make a socket that binds use the worker's key and let everybody in."""
        router.curve_secretkey = self.worker_secret.encode()
        router.curve_server = True


def new_keys(folder: Path) -> BenchKeys:
    """Make keys in a folder."""
    worker, device = new_pair("worker", "worker", ""), new_pair("device", "device", "")
    worker_key, worker_public = write_pair(worker, folder)
    device_key, _ = write_pair(device, folder)
    allow(folder / "allow", [device.public])
    return BenchKeys(
        cloud=("--key", str(worker_key), "--allow", str(folder / "allow")),
        edge=("--key", str(device_key), "--server-key", str(worker_public)),
        client=ClientKeys(device, worker.public),
        worker_secret=worker.secret,
    )
