"""The sample table: statistics from rows, and its file."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from splitnet.bundle import Bundle, ExitRows, PathRows, SampleTable
from splitnet.bundle.npz import MAX_BYTES, read_npz, write_npz
from splitnet.errors import BundleError, UnknownNameError
from splitnet.values import ExitStep, Plan

Arrays = dict[str, NDArray[Any]]


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@pytest.fixture
def table() -> SampleTable:
    """Four samples: the exits are right where they are sure, the path is wrong once."""
    keys = np.array([[0, 0], [1, 0], [2, 0], [2, 1]])
    return SampleTable(
        keys,
        {
            "e1": ExitRows(floats(1, 0, 0, 1), floats(0.9, 0.8, 0.2, 0.1)),
            "e2": ExitRows(floats(0, 1, 1, 0), floats(0.9, 0.1, 0.9, 0.1)),
        },
        {
            ("p", 0): PathRows(floats(1, 1, 0, 0.5), floats(1, 1, 1, 1), np.full(4, 100, np.int32)),
            ("p", 1): PathRows(
                floats(1, 1, 0, 0.5), floats(1, 1, 1, 1), np.array([10, 20, 30, 40], np.int32)
            ),
        },
    )


def test_means_over_all_and_some_rows(table: SampleTable) -> None:
    rows = np.array([True, False, False, True])
    assert len(table) == 4
    assert table.mean_score("p", 1) == 0.625
    assert table.mean_score("p", 1, rows) == 0.75
    assert table.mean_bytes("p", 1) == 25
    assert table.mean_bytes("p", 1, rows) == 25
    assert table.mean_exit_score("e1") == 0.5
    assert table.mean_exit_score("e1", rows) == 1.0


def test_no_row_stands_for_all(table: SampleTable) -> None:
    assert table.mean_score("p", 1, np.zeros(4, bool)) == 0.625


def test_exits_are_passed_at_their_threshold(table: SampleTable) -> None:
    assert table.exit_passed("e1", 0.8).tolist() == [True, True, False, False]
    assert table.exit_share("e1", 0.8) == 0.5
    assert table.exit_share("e1", 0.8, ~table.exit_passed("e2", 0.5)) == 0.5


def test_plans_count_each_row_where_it_leaves(table: SampleTable) -> None:
    plain = table.plan_statistics(Plan("p", 1))
    assert plain == (0.625, 25, 0)
    one = table.plan_statistics(Plan("p", 1, (ExitStep("e1", "max-softmax", 0.8),)))
    assert one == ((1 + 0 + 0 + 0.5) / 4, (30 + 40) / 4, 0.5)
    rows = np.array([True, False, True, False])
    some = table.plan_statistics(Plan("p", 1, (ExitStep("e1", "max-softmax", 0.8),)), rows)
    assert some == (0.5, 15, 0.5)


def test_the_first_exit_that_is_passed_answers(table: SampleTable) -> None:
    rule = (ExitStep("e1", "max-softmax", 0.8), ExitStep("e2", "max-softmax", 0.5))
    assert table.leaves_at(rule).tolist() == [0, 0, 1, -1]
    assert table.plan_statistics(Plan("p", 0, rule)) == ((1 + 0 + 1 + 0.5) / 4, 25, 0.75)


def test_unknown_names_list_the_known_ones(table: SampleTable) -> None:
    with pytest.raises(UnknownNameError, match="no 'p@2'; known: p@0, p@1"):
        table.mean_score("p", 2)
    with pytest.raises(UnknownNameError, match="no exit 'e3'; known: e1, e2"):
        table.exit_share("e3", 0.5)


def test_marginals_lie_and_rows_do_not(sample_bundle: Bundle) -> None:
    table = sample_bundle.table
    goes_on = ~table.exit_passed("e1", 0.8)
    assert table.mean_exit_score("e1", goes_on) < table.mean_exit_score("e1") - 0.2


@given(
    score=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
    path=st.from_regex(r"[A-Za-z0-9_.:-]{1,20}", fullmatch=True),
    level=st.integers(0, 99),
)
def test_file_round_trip(score: list[float], path: str, level: int) -> None:
    count = len(score)
    rows = PathRows(floats(*score), floats(*score), np.arange(count, dtype=np.int32))
    keys = np.stack([np.arange(count), np.zeros(count, np.int64)], 1)
    table = SampleTable(keys, {path: ExitRows(*rows[:2])}, {(path, level): rows})
    again = SampleTable.from_bytes(table.to_bytes())
    assert np.array_equal(again.keys, keys)
    assert list(again.exits) == [path]
    for mine, theirs in zip(rows, again.paths[path, level], strict=True):
        assert np.array_equal(mine, theirs)
    assert again.to_bytes() == table.to_bytes()


def test_numpy_reads_the_file_without_pickle(sample_bundle: Bundle) -> None:
    with np.load(io.BytesIO(sample_bundle.table.to_bytes()), allow_pickle=False) as arrays:
        assert arrays["keys"].shape == (200, 2)
        assert arrays["path/c1@1/bytes"].dtype == np.int32
        assert set(arrays.files) >= {"exit/e1/score", "exit/e1/confidence"}


def arrays_of(table: SampleTable) -> Arrays:
    return read_npz(table.to_bytes(), "sample_table.npz")


DAMAGES: list[tuple[str, NDArray[Any] | None, str]] = [
    ("keys", None, "'keys' is missing"),
    ("keys", np.zeros((4, 2), np.int32), r"keys are int32 \(4, 2\)"),
    ("keys", np.zeros(4, np.int64), r"keys are int64 \(4,\)"),
    ("keys", np.zeros((0, 2), np.int64), "not empty"),
    ("keys", np.zeros((4, 2), np.int64), "stands there twice"),
    ("keys", np.array([[0, 0], [1, 0], [2, 0], [2, -1]]), "negative"),
    ("exit/e1/score", None, "exit/e1 has the columns confidence"),
    ("exit/e1/bytes", np.zeros(4, np.int32), "exit/e1 has the columns bytes, confidence"),
    ("exit/e1/score", floats(0, 0, 0), r"exit/e1/score is float32 \(3,\), must be float32 \(4,\)"),
    ("exit/e1/score", np.zeros(4, np.int32), "is int32"),
    ("exit/e1/score", floats(0, 0, 0, 1.01), "outside 0 to 1"),
    ("exit/e1/confidence", floats(0, 0, 0, np.nan), "outside 0 to 1"),
    ("path/p@1/bytes", np.array([0, 0, 0, -1], np.int32), "path/p@1/bytes has values outside"),
    ("path/p/score", floats(0, 0, 0, 0), "path/p has the columns score"),
    ("other/score", floats(0, 0, 0, 0), "other/ has the columns score"),
    ("stray", floats(0), "stray/ has the columns"),
]


@pytest.mark.parametrize(("name", "value", "message"), DAMAGES, ids=[m for *_, m in DAMAGES])
def test_wrong_arrays_are_named(
    table: SampleTable, name: str, value: NDArray[Any] | None, message: str
) -> None:
    arrays = arrays_of(table)
    if value is None:
        del arrays[name]
    else:
        arrays[name] = value
    with pytest.raises(BundleError, match=message):
        SampleTable.from_bytes(write_npz(arrays))


@pytest.mark.parametrize("owner", ["p", "@1", "p@", "p@x", "p@01", "p@-1", "p@9999"])
def test_a_wrong_plan_key_is_refused(table: SampleTable, owner: str) -> None:
    arrays = arrays_of(table)
    for column in PathRows._fields:
        arrays[f"path/{owner}/{column}"] = arrays.pop(f"path/p@1/{column}")
    with pytest.raises(BundleError, match="is not a path and a level"):
        SampleTable.from_bytes(write_npz(arrays))


def test_truncation_anywhere_is_refused(table: SampleTable) -> None:
    data = table.to_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(BundleError):
            SampleTable.from_bytes(data[:length])


def test_damage_anywhere_never_escapes(table: SampleTable) -> None:
    data = table.to_bytes()
    random = np.random.default_rng(0)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= int(random.integers(1, 256))
        try:
            SampleTable.from_bytes(bytes(damaged))
        except BundleError as error:
            assert "sample_table.npz" in str(error)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        SampleTable.from_bytes(data)


def zipped(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("keys.npy", content)
    return buffer.getvalue()


def test_a_zip_bomb_is_not_unpacked() -> None:
    bomb = zipped(bytes(MAX_BYTES + 1))
    with pytest.raises(BundleError, match="declares 1 arrays with"):
        SampleTable.from_bytes(bomb)


def npy(array: NDArray[Any], *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.zeros(3, object), allow_pickle=True), "not npy 1.0"),
        (npy(np.zeros(3, np.float64)), "not npy 1.0"),
        (npy(np.asfortranarray(np.zeros((3, 2), np.int64))), "not npy 1.0"),
        (npy(np.zeros((4, 2), np.int64)).replace(b"(4, 2)", b"(9, 9)"), "has 64 bytes"),
        (npy(np.zeros((4, 2), np.int64)).replace(b"(4, 2)", b"(4  2)"), "invalid literal"),
        (npy(np.zeros((4, 2), np.int64))[:-1], "has 63 bytes"),
        (b"", "not npy 1.0"),
    ],
)
def test_a_wrong_member_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        SampleTable.from_bytes(zipped(content))


def test_other_compressions_are_refused() -> None:
    with pytest.raises(BundleError, match="than deflate"):
        SampleTable.from_bytes(zipped(b"x" * 100, zipfile.ZIP_LZMA))
