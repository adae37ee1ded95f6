"""How much memory a new process may use on this machine."""

from __future__ import annotations

import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available_bytes(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Return what the machine and the control group still have, ``None`` if neither says it."""
    found = [
        free_bytes
        for free_bytes in (_machine_bytes(meminfo), _group_bytes(cgroup))
        if free_bytes is not None
    ]
    return min(found, default=None)


def _machine_bytes(meminfo: Path) -> int | None:
    line = re.search(r"^MemAvailable:\s+(\d+) kB", _read(meminfo), re.MULTILINE)
    return 1024 * int(line[1]) if line else None


def _group_bytes(cgroup: Path) -> int | None:
    limit, used = _read(cgroup / "memory.max").strip(), _read(cgroup / "memory.current").strip()
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
