"""Energy and memory, read from files as a kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.builder.meters import (
    HWMON,
    IIO,
    NOT_AVAILABLE,
    RAPL,
    CounterMeter,
    PowerMeter,
    find_meter,
    peak_resident_bytes,
)


def write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def test_without_a_rail_it_is_said_so(tmp_path: Path) -> None:
    found = find_meter(tmp_path)
    assert found.meter is None
    assert found.text.startswith(f"{NOT_AVAILABLE} (no rail in ")


def test_a_processor_counts_microjoules(tmp_path: Path) -> None:
    package = tmp_path / RAPL / "intel-rapl:0"
    write(package, {"name": "package-0", "energy_uj": "999000", "max_energy_range_uj": "1000000"})
    found = find_meter(tmp_path)
    assert isinstance(found.meter, CounterMeter)
    assert found.text == f"RAPL package-0 ({package / 'energy_uj'})"
    found.meter.start()
    write(package, {"energy_uj": "1000"})  # the counter began again
    found.meter.poll()
    write(package, {"energy_uj": "3000"})
    assert found.meter.stop() == pytest.approx(0.004)


def test_a_counter_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    package = tmp_path / RAPL / "intel-rapl:0"
    write(package, {"name": "package-0", "max_energy_range_uj": "1000000"})
    (package / "energy_uj").mkdir()  # even root cannot read this
    found = find_meter(tmp_path)
    assert found.meter is None
    assert str(package) in found.text and "Is a directory" in found.text


def test_the_input_rail_of_a_board(tmp_path: Path) -> None:
    monitor = tmp_path / HWMON / "hwmon3"
    write(tmp_path / HWMON / "hwmon0", {"name": "cpu_thermal", "curr1_input": "1"})
    write(monitor, {"name": "ina3221"})
    for number, label in ((1, "VDD_IN"), (2, "VDD_CPU_GPU_CV"), (3, "VDD_SOC")):
        rail = {f"in{number}_label": label, f"in{number}_input": "5000"}
        write(monitor, rail | {f"curr{number}_input": "800"})
    found = find_meter(tmp_path)
    assert found.text == f"VDD_IN ({monitor})"
    assert isinstance(found.meter, PowerMeter)


def test_without_an_input_rail_all_are_added_up(tmp_path: Path) -> None:
    device = tmp_path / IIO / "1-0040" / "iio:device0"
    write(device, {"rail_name_0": "GPU", "in_power0_input": "1500"})
    write(device, {"rail_name_1": "CPU", "in_power1_input": "2500"})
    found = find_meter(tmp_path)
    assert found.text == f"GPU + CPU ({device})"


def test_power_is_added_up_over_time() -> None:
    now_s, watts = [0.0], [2.0]
    meter = PowerMeter("source", "rail", lambda: watts[0], lambda: now_s[0])
    meter.start()
    now_s[0] = 0.001
    meter.poll()  # too soon for a new reading
    now_s[0], watts[0] = 1.0, 4.0
    meter.poll()
    now_s[0] = 1.5
    assert meter.stop() == pytest.approx(3.0 + 2.0)


def test_peak_memory(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  9999 kB\nVmHWM:\t    1234 kB\n")
    assert peak_resident_bytes(status) == 1234 * 1024
    status.write_text("Name:\tpython\n")
    assert peak_resident_bytes(status) is None
    assert peak_resident_bytes(tmp_path / "nothing") is None
