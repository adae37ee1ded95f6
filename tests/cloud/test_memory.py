"""What is said to be available, by the machine and by the control group."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.cloud.memory import available_bytes

MIB = 1 << 20


@pytest.mark.parametrize(
    ("machine_mib", "limit", "used_mib", "expected_mib"),
    [(3000, "max", 10, 3000), (3000, str(1000 * MIB), 400, 600), (None, "max", 10, None)],
)
def test_the_smaller_one_counts(
    tmp_path: Path, machine_mib: int | None, limit: str, used_mib: int, expected_mib: int | None
) -> None:
    meminfo = tmp_path / "meminfo"
    if machine_mib is not None:
        meminfo.write_text(f"MemTotal: 9 kB\nMemAvailable:   {machine_mib * 1024} kB\n")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used_mib * MIB}\n")
    expected = None if expected_mib is None else expected_mib * MIB
    assert available_bytes(meminfo, tmp_path) == expected


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "none", tmp_path) is None
