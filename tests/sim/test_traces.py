"""Traces as files, good and bad."""

from __future__ import annotations

import gzip
import os
from math import inf
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitnet.errors import ConfigError
from splitnet.sim.traces import read_trace

MAHIMAHI = "0\n2\n2\n10\n"
CSV = "t_s,mbps\n0,8\n1,0\n2,16\n"
PIECES = (
    "t_s,mbps\n",
    "trace,",
    "t_s",
    "1",
    "0",
    "-",
    ".5",
    ",",
    "e9",
    "\n",
    "\n",
    "nan",
    " ",
    "x",
)
LONG = "trace,t_s,mbps\na,0,8\na,2,4\nb,5,1\nb,6,2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def test_a_mahimahi_trace_begins_again_at_its_end(file: Path) -> None:
    trace = read_trace(written(file, MAHIMAHI))
    assert trace.duration_s == 0.01
    assert trace.capacity.bytes_by(0.0099) == 3 * 1500
    assert trace.capacity.bytes_by(0.010) == 5 * 1500
    assert trace.capacity.time_of(6 * 1500 + 1) == pytest.approx(0.012)


def test_a_csv_trace_holds_each_value_and_the_last_one_as_long_as_the_one_before(
    file: Path,
) -> None:
    trace = read_trace(written(file, CSV))
    assert trace.duration_s == 3.0
    assert [trace.capacity.bytes_by(t) for t in (1.0, 2.0, 3.0, 4.0)] == [1e6, 1e6, 3e6, 4e6]


def test_what_comes_after_the_end(file: Path) -> None:
    written(file, CSV)
    stop, hold = (read_trace(file, ending=ending).capacity for ending in ("stop", "hold"))
    assert (stop.bytes_by(10.0), stop.time_of(3e6 + 1)) == (3e6, inf)
    assert hold.bytes_by(5.0) == 3e6 + 2 * 2e6


def test_a_mahimahi_trace_holds_its_last_second(file: Path) -> None:
    every_10_ms = [*range(0, 2000, 100), *range(2000, 3001, 10)]
    written(file, "\n".join(map(str, every_10_ms)))
    stop, hold = (read_trace(file, ending=ending).capacity for ending in ("stop", "hold"))
    assert stop.bytes_by(100.0) == stop.bytes_by(3.0)
    assert hold.bytes_by(13.0) - hold.bytes_by(3.0) == pytest.approx(1000 * 1500)


def test_an_ending_that_is_not_known(file: Path) -> None:
    with pytest.raises(ConfigError, match="'repeat' is not one of loop, stop, hold"):
        read_trace(written(file, CSV), ending="repeat")


def test_a_file_with_several_traces_needs_a_choice(file: Path) -> None:
    written(file, LONG)
    trace = read_trace(file, "b")
    assert trace.duration_s == 2.0
    assert trace.capacity.bytes_by(2.0) == pytest.approx(3e6 / 8)
    with pytest.raises(ConfigError, match="holds several traces: choose one, such as --trace-name"):
        read_trace(file)
    with pytest.raises(ConfigError, match=r"holds no trace 'bb' \(did you mean 'b'\?\)"):
        read_trace(file, "bb")


@pytest.mark.parametrize("text", [CSV, MAHIMAHI])
def test_a_file_with_one_trace_needs_none(file: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="leave out --trace-name"):
        read_trace(written(file, text), "a")


def test_compressed_files(tmp_path: Path) -> None:
    file = tmp_path / "trace.gz"
    file.write_bytes(gzip.compress(MAHIMAHI.encode()))
    assert read_trace(file).duration_s == 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: a trace has at least one line"),
        ("\n \n", "is empty"),
        ("t_s,mbps\n", "is empty: there is nothing behind its header"),
        ("trace,t_s,mbps\n", "is empty: there is nothing behind its header"),
        ("0\nx\n", r"line 2: 'x' is neither a whole number of milliseconds nor the header"),
        ("0\n1.5\n", "line 2: '1.5' is neither"),
        ("0\n-1\n", "line 2: '-1' is neither"),
        ("0\n" + "9" * 5000 + "\n", "line 2: '9+...' is neither"),
        ("5\n\n3\n", "line 3: 3 ms comes after 5 ms; times must not go back"),
        ("0\n0\n", "ends at 0 ms"),
        ("0,5\n1,6\n", "line 1: '0,5' is not a header; it must be t_s,mbps or trace,t_s,mbps"),
        ("t_s,mbps\n0,5\n1\n", "line 3: '1' has 1 columns instead of 2"),
        ("t_s,mbps\n0,five\n", "line 2: 'five' is not a number"),
        ("t_s,mbps\n0,nan\n", "line 2: 'nan' is not a number"),
        ("t_s,mbps\n0,inf\n", "line 2: 'inf' is not a number"),
        ("t_s,mbps\n0,-1\n", "line 2: the rate -1 Mbit/s is not between 0 and 1e"),
        ("t_s,mbps\n1,1\n0,1\n", "line 3: 0 s comes after 1 s; times must not go back"),
        ("t_s,mbps\n0,0\n1,0\n", "carries nothing at all: every rate is 0"),
        ("0\n\x00\x01garbage" + "x" * 90, r"line 2: '.{40,60}\.\.\.' is neither"),
    ],
)
def test_garbled_files_are_refused_with_the_line(file: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_trace(written(file, text))


def test_a_file_that_is_not_text(file: Path) -> None:
    file.write_bytes(b"0\n\xff\xfe\xfd\n")
    with pytest.raises(ConfigError, match="line 2: not text"):
        read_trace(file)


@pytest.mark.parametrize("keep", [5, 40, 200])
def test_a_compressed_file_that_ends_early(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "trace.gz"
    file.write_bytes(gzip.compress("".join(f"{7 * i}\n" for i in range(10_000)).encode())[:keep])
    with pytest.raises(ConfigError, match=r"is damaged after line \d+"):
        read_trace(file)


def test_a_compressed_file_that_is_not_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is damaged after line 0"):
        read_trace(written(tmp_path / "trace.gz", MAHIMAHI))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the trace .*nothing: No such file"):
        read_trace(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"cannot read the trace .*: Is a directory"):
        read_trace(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from(PIECES), max_size=30).map(lambda pieces: "".join(pieces).encode())
)
def test_any_bytes_are_a_trace_or_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        trace = read_trace(file)
    except ConfigError as error:
        assert str(file) in str(error)
    else:
        assert trace.capacity.bytes_by(trace.duration_s) > 0


def test_the_end_is_announced(file: Path) -> None:
    written(file, CSV)
    ends = [read_trace(file, ending=ending).remarks for ending in ("loop", "stop", "hold")]
    assert [remark.partition("trace ends")[2] for (remark,) in ends] == [
        " after 3.0 s, then it begins again",
        " after 3.0 s, then the link carries nothing",
        " after 3.0 s, then its last rate holds",
    ]


def test_gaps_are_bridged_and_named(file: Path) -> None:
    seconds = [*range(10), *range(70, 80)]
    written(file, "t_s,mbps\n" + "".join(f"{t},8\n" for t in seconds))
    trace = read_trace(file)
    assert trace.capacity.bytes_by(60.0) == 60e6
    assert trace.oddities == (
        "has 1 gaps, the longest of 61.0 s from 9.0 s on; the rate before a gap holds through it",
    )


def test_outages_of_a_mahimahi_trace_are_named(file: Path) -> None:
    assert read_trace(written(file, "100\n4100\n4200\n")).oddities == (
        "carries nothing for 4.0 s from 0.1 s on",
    )


def test_of_a_time_given_twice_the_later_rate_counts(file: Path) -> None:
    trace = read_trace(written(file, "t_s,mbps\n0,8\n1,8\n1,80\n2,8\n"))
    assert trace.capacity.bytes_by(3.0) == 1e6 + 10e6 + 1e6
    assert trace.oddities == ("gives 1 times twice, first in line 4; the later rate counts",)


def test_a_trace_that_does_not_begin_at_0_is_moved_there(file: Path) -> None:
    trace = read_trace(written(file, "t_s,mbps\n1700000000,8\n1700000001,16\n"))
    assert (trace.duration_s, trace.capacity.bytes_by(2.0)) == (2.0, 3e6)


@pytest.mark.data
@pytest.mark.skipif("SPLITNET_DATA" not in os.environ, reason="SPLITNET_DATA is not set")
def test_recorded_traces_carry_what_their_index_says() -> None:
    folder = Path(os.environ.get("SPLITNET_DATA", "")) / "traces"
    index = [line.split(",") for line in (folder / "INDEX.csv").read_text().splitlines()[1:]]
    chosen = [row for row in index if row[0] == "mahimahi"] + index[10::80]
    assert len(chosen) > 10
    for source, name, _, duration_s, mean_mbps, *_ in chosen:
        trace = read_trace(folder / source / "traces.csv.gz", name)
        mean = 8e-6 * trace.capacity.bytes_by(trace.duration_s) / trace.duration_s
        assert trace.duration_s >= float(duration_s)
        if source == "mahimahi":
            assert mean == pytest.approx(float(mean_mbps), rel=0.01)
            raw = read_trace(folder / source / "raw" / f"{name}.gz")
            assert raw.capacity.bytes_by(60.0) == pytest.approx(
                trace.capacity.bytes_by(60.0), rel=0.01
            )
