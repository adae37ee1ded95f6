"""The sample table: statistics from rows, and its file."""

from __future__ import annotations

import dataclasses
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


@pytest.fixture
def progressive(table: SampleTable) -> SampleTable:
    """The same, with the answers to the first part and to the first two of level 1."""
    parts = (
        PathRows(floats(1, 0, 1, 0), floats(0.9, 0.6, 0.8, 0.1), np.array([2, 4, 6, 8], np.int32)),
        PathRows(
            floats(1, 1, 0, 0.5), floats(0.9, 0.7, 0.2, 0.3), np.array([5, 10, 15, 20], np.int32)
        ),
    )
    return dataclasses.replace(table, parts={("p", 1): parts})


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
    assert plain == (0.625, 25, 0, 1)
    one = table.plan_statistics(Plan("p", 1, (ExitStep("e1", "max-softmax", 0.8),)))
    assert one == ((1 + 0 + 0 + 0.5) / 4, (30 + 40) / 4, 0.5, 1)
    rows = np.array([True, False, True, False])
    some = table.plan_statistics(Plan("p", 1, (ExitStep("e1", "max-softmax", 0.8),)), rows)
    assert some == (0.5, 15, 0.5, 1)


def test_the_first_exit_that_is_passed_answers(table: SampleTable) -> None:
    rule = (ExitStep("e1", "max-softmax", 0.8), ExitStep("e2", "max-softmax", 0.5))
    assert table.leaves_at(rule).tolist() == [0, 0, 1, -1]
    assert table.plan_statistics(Plan("p", 0, rule)) == ((1 + 0 + 1 + 0.5) / 4, 25, 0.75, 1)


def test_a_row_stops_where_its_answer_is_sure(progressive: SampleTable) -> None:
    plan = Plan("p", 1, stops=(0.8, 0.5))
    assert progressive.replies(plan).tolist() == [1, 2, 1, 3]
    found = progressive.answers(plan)
    assert found.score.tolist() == [1, 1, 1, 0.5]
    assert found.bytes.tolist() == [2, 10, 6, 40]
    assert [column.dtype for column in found] == [np.float32, np.float32, np.int32]
    assert progressive.plan_statistics(plan) == (3.5 / 4, 58 / 4, 0, 7 / 4)
    rows = np.array([False, True, False, True])
    assert progressive.plan_statistics(plan, rows) == (0.75, 25, 0, 2.5)


def test_what_leaves_at_an_exit_never_stops(progressive: SampleTable) -> None:
    plan = Plan("p", 1, (ExitStep("e1", "max-softmax", 0.8),), (0.8, 0.5))
    assert progressive.plan_statistics(plan) == ((1 + 0 + 1 + 0.5) / 4, (6 + 40) / 4, 0.5, 2)
    everything = Plan("p", 1, (ExitStep("e1", "max-softmax", 0.0),), (0.8, 0.5))
    assert progressive.plan_statistics(everything) == (0.5, 0, 1, 1)


def test_stops_that_nothing_reaches_send_all_parts(progressive: SampleTable) -> None:
    closed = progressive.plan_statistics(Plan("p", 1, stops=(1.001, 1.001)))
    assert closed == (*progressive.plan_statistics(Plan("p", 1))[:3], 3)
    assert progressive.replies(Plan("p", 1, stops=(0, 0))).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            Plan("p", 1, stops=(0.5,)),
            "2 parts of 'p@1' besides the whole, the plan has 1 stops",
        ),
        (Plan("p", 0, stops=(0.5,)), "has 0 parts of 'p@0'"),
    ],
)
def test_other_numbers_of_stops_are_refused(
    progressive: SampleTable, plan: Plan, message: str
) -> None:
    for ask in (progressive.replies, progressive.answers, progressive.plan_statistics):
        with pytest.raises(UnknownNameError, match=message):
            ask(plan)


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


def test_parts_survive_the_file(progressive: SampleTable) -> None:
    again = SampleTable.from_bytes(progressive.to_bytes())
    assert again.parts.keys() == {("p", 1)}
    for mine, theirs in zip(progressive.parts["p", 1], again.parts["p", 1], strict=True):
        for column, values in mine._asdict().items():
            assert np.array_equal(values, getattr(theirs, column))
    assert again.to_bytes() == progressive.to_bytes()


def test_a_table_without_parts_is_the_file_of_older_builds(table: SampleTable) -> None:
    assert not any(name.startswith("part/") for name in arrays_of(table))
    assert SampleTable.from_bytes(table.to_bytes()).parts == {}


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


PART_DAMAGES: list[tuple[str, NDArray[Any] | None, str]] = [
    ("part/p@1:1/score", None, "part/p@1:1 has the columns bytes, confidence"),
    ("part/p@1:1/steps", floats(0, 0, 0, 0), "part/p@1:1 has the columns bytes, .*steps"),
    ("part/p@1:1/score", floats(0, 0, 0), r"part/p@1:1/score is float32 \(3,\)"),
    ("part/p@1:2/confidence", floats(0, 0, 0, np.nan), "part/p@1:2/confidence has values outside"),
    ("part/p@1:2/bytes", np.array([0, 0, 0, -1], np.int32), "part/p@1:2/bytes has values outside"),
    ("part/p@1:1/bytes", np.full(4, 6, np.int32), "more parts of 'p@1' have fewer bytes"),
    ("part/p@1:2/bytes", np.full(4, 11, np.int32), "more parts of 'p@1' have fewer bytes"),
]


@pytest.mark.parametrize(("name", "value", "message"), PART_DAMAGES)
def test_wrong_parts_are_named(
    progressive: SampleTable, name: str, value: NDArray[Any] | None, message: str
) -> None:
    test_wrong_arrays_are_named(progressive, name, value, message)


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        ("p@1:3", r"the parts of 'p@1' are \[1, 3\], must count from 1"),
        ("p@1:0", r"the parts of 'p@1' are \[0, 1\]"),
        ("p@0:2", r"the parts of 'p@0' are \[2\]"),
        ("p@2:1", "parts, but no rows, of 'p@2'"),
        ("p@1", "'p@1' is not a path, a level and a number of parts"),
        ("p@1:", "is not a path, a level and a number of parts"),
        ("p@1:01", "is not a path, a level and a number of parts"),
        ("p@1:x", "is not a path, a level and a number of parts"),
        ("p@1:9999", "is not a path, a level and a number of parts"),
        ("p@01:2", "'p@01' is not a path and a level"),
        (":2", "'' is not a path and a level"),
    ],
)
def test_a_wrong_part_key_is_refused(progressive: SampleTable, owner: str, message: str) -> None:
    arrays = arrays_of(progressive)
    for column in PathRows._fields:
        arrays[f"part/{owner}/{column}"] = arrays.pop(f"part/p@1:2/{column}")
    with pytest.raises(BundleError, match=message):
        SampleTable.from_bytes(write_npz(arrays))


def test_parts_of_a_path_with_colons(progressive: SampleTable) -> None:
    rows, parts = progressive.paths["p", 1], progressive.parts["p", 1]
    key = "layer1.8:relu:1", 2
    table = SampleTable(progressive.keys, {}, {key: rows}, {key: parts})
    assert SampleTable.from_bytes(table.to_bytes()).parts.keys() == {key}


def test_truncation_anywhere_is_refused(progressive: SampleTable) -> None:
    data = progressive.to_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(BundleError):
            SampleTable.from_bytes(data[:length])


def test_damage_anywhere_never_escapes(progressive: SampleTable) -> None:
    data = progressive.to_bytes()
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
