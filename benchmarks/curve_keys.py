"""Keys for a worker and a device of a benchmark, as the options that give them."""

from __future__ import annotations

from pathlib import Path

from splitnet.transport.allow_list import allow
from splitnet.transport.keys import new_pair, write_pair


def key_options(folder: Path) -> tuple[list[str], list[str]]:
    """Make keys and return the options of the cloud and of the edge."""
    worker, device = new_pair("worker", "worker", ""), new_pair("device", "device", "")
    worker_key, worker_public = write_pair(worker, folder)
    device_key, _ = write_pair(device, folder)
    allow(folder / "allow", [device.public])
    cloud = ["--key", str(worker_key), "--allow", str(folder / "allow")]
    return cloud, ["--key", str(device_key), "--server-key", str(worker_public)]
