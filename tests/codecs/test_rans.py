"""The coder in Python and the one in C: the same streams, and nothing but their own errors."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from splitnet.codecs import coder, rans
from splitnet.codecs.native import NO_ACCELERATOR, Accelerator, accelerator, load_accelerator
from splitnet.codecs.tables import ESCAPE, Tables, Which, scale_frequencies
from splitnet.errors import CorruptPayloadError

Symbols: TypeAlias = NDArray[np.uint8]
LANES = (1, 8, 128)

NATIVE = load_accelerator()
needs_native = pytest.mark.skipif(NATIVE is None, reason="the coder in C was not built")


def native() -> Accelerator:
    assert NATIVE is not None
    return NATIVE


@st.composite
def any_tables(draw: st.DrawFn) -> Tables:
    """One to four tables, of few or many symbols, flat or steep."""
    precision = draw(st.integers(9, 14))
    rows = np.zeros((draw(st.integers(1, 4)), ESCAPE + 1), np.uint16)
    for row in rows:
        symbols = draw(st.sets(st.integers(0, 255), min_size=1, max_size=40))
        weights = draw(
            st.lists(st.integers(0, 10**6), min_size=len(symbols), max_size=len(symbols))
        )
        escape = draw(st.sampled_from([1, 2, 100]))
        weights[0] += 1
        scaled = scale_frequencies(np.array(weights), (1 << precision) - escape)
        row[sorted(symbols)] = scaled
        row[ESCAPE] = escape
    return Tables(rows, precision)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Symbols, Which | None, Tables]:
    """Symbols, known or not to their tables, and the table of each."""
    tables = draw(any_tables())
    count = draw(st.sampled_from([1, 2, 7, 8, 9, 127, 128, 129, 300]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    which = random.integers(0, len(tables.frequencies), count).astype(np.uint8)
    likely = [np.flatnonzero(row[:ESCAPE]) for row in tables.frequencies]
    symbols = np.array([random.choice(likely[table]) for table in which], np.uint8)
    strange = random.random(count) < draw(st.sampled_from([0, 0.1, 1]))
    symbols[strange] = random.integers(0, 256, int(strange.sum()))
    return symbols, which if len(tables.frequencies) > 1 else None, tables


@given(cases(), st.sampled_from(LANES))
@settings(deadline=None)
def test_any_symbols_round_trip(case: tuple[Symbols, Which | None, Tables], lanes: int) -> None:
    symbols, which, tables = case
    stream = rans.encode(symbols, which, tables, lanes)
    assert np.array_equal(rans.decode(stream, symbols.size, which, tables, lanes), symbols)
    together = rans.decode_in_step([stream] * 3, symbols.size, which, tables, lanes)
    assert all(np.array_equal(found, symbols) for found in together)


@needs_native
@given(cases(), st.sampled_from(LANES))
@settings(deadline=None)
def test_both_coders_make_the_same(case: tuple[Symbols, Which | None, Tables], lanes: int) -> None:
    symbols, which, tables = case
    stream = rans.encode(symbols, which, tables, lanes)
    assert native().encode(symbols, which, tables, lanes) == stream
    assert np.array_equal(native().decode(stream, symbols.size, which, tables, lanes), symbols)
    assert native().measure(symbols, which, tables) == rans.measure(symbols, which, tables)


@needs_native
@given(cases(), st.sampled_from(LANES), st.data())
@settings(deadline=None)
def test_both_coders_refuse_the_same(
    case: tuple[Symbols, Which | None, Tables], lanes: int, data: st.DataObject
) -> None:
    symbols, which, tables = case
    stream = bytearray(rans.encode(symbols, which, tables, lanes))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stream) - 1))
        if data.draw(st.booleans()):
            stream[at] ^= data.draw(st.integers(1, 255))
        else:
            del stream[at : at + data.draw(st.integers(1, 4))]
        if not stream:
            break
    arguments = bytes(stream), symbols.size, which, tables, lanes
    try:
        expected = rans.decode(*arguments)
    except CorruptPayloadError:
        with pytest.raises(CorruptPayloadError):
            native().decode(*arguments)
        return
    assert np.array_equal(native().decode(*arguments), expected)


def bell(width: int, precision: int = 14) -> Tables:
    """Return a table for symbols around 128."""
    row = np.zeros((1, ESCAPE + 1), np.uint16)
    weights = np.maximum(10 * width - np.abs(np.arange(256) - 128), 0) ** 4 + 1
    row[0, :ESCAPE] = scale_frequencies(weights, (1 << precision) - 1)
    row[0, ESCAPE] = 1
    return Tables(row, precision)


def draw_symbols(tables: Tables, count: int) -> Symbols:
    """Return symbols with the probabilities of the first table."""
    shares = tables.frequencies[0, :ESCAPE] / tables.frequencies[0, :ESCAPE].sum()
    return np.random.default_rng(0).choice(256, count, p=shares).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 20, 768, 2523, 4096, 20_000, 120_000])
@pytest.mark.parametrize("width", [1, 3, 25])
def test_a_payload_is_near_its_cross_entropy(count: int, width: int) -> None:
    tables = bell(width)
    symbols = draw_symbols(tables, count)
    chances = tables.frequencies[0, symbols] / (1 << tables.precision)
    entropy_bytes = -np.log2(chances).sum() / 8
    data = coder.encode_symbols(symbols, None, tables)
    assert len(data) <= 1.01 * entropy_bytes + 8
    assert np.array_equal(coder.decode_symbols(data, count, None, tables), symbols)


def test_large_payloads_have_more_lanes() -> None:
    tables = bell(12)
    firsts = [coder.encode_symbols(draw_symbols(tables, n), None, tables)[0] for n in (100, 10**4)]
    assert firsts == [1, 8]
    assert coder.encode_symbols(draw_symbols(tables, 200_000), None, tables)[0] == 128


def test_symbols_that_do_not_fit_are_stored() -> None:
    tables = bell(1)
    symbols = np.random.default_rng(0).integers(0, 60, 500).astype(np.uint8)
    data = coder.encode_symbols(symbols, None, tables)
    assert data == b"\x00" + symbols.tobytes()
    assert np.array_equal(coder.decode_symbols(data, 500, None, tables), symbols)


def test_many_payloads_at_once() -> None:
    tables = bell(25)
    arrays = [draw_symbols(tables, 300)[::step].copy()[:100] for step in (1, 2, 3)] * 40
    arrays[7] = np.zeros(100, np.uint8)
    datas = [coder.encode_symbols(array, None, tables) for array in arrays]
    found = coder.decode_payloads(datas, 100, None, tables)
    assert all(np.array_equal(one, array) for one, array in zip(found, arrays, strict=True))
    datas[50] = datas[50][:-1]
    with pytest.raises(CorruptPayloadError):
        coder.decode_payloads(datas, 100, None, tables)


def test_a_table_that_is_nearly_one_symbol_bounds_the_size() -> None:
    row = np.zeros((1, ESCAPE + 1), np.uint16)
    row[0, 0], row[0, ESCAPE] = (1 << 14) - 1, 1
    tables = Tables(row, 14)
    symbols = np.zeros(1_000_000, np.uint8)
    data = coder.encode_symbols(symbols, None, tables)
    assert len(data) < 20
    assert not coder.decode_symbols(data, symbols.size, None, tables).any()
    with pytest.raises(CorruptPayloadError, match="cannot hold"):
        coder.decode_symbols(data, 2**31 - 1, None, tables)


@needs_native
@pytest.mark.parametrize(("value", "off"), [("1", True), ("0", False), ("", False)])
def test_the_accelerator_can_be_switched_off(
    monkeypatch: pytest.MonkeyPatch, value: str, off: bool
) -> None:
    monkeypatch.setenv(NO_ACCELERATOR, value)
    assert (accelerator.__wrapped__() is None) == off


@needs_native
def test_the_module_in_c_checks_its_arguments() -> None:
    tables = bell(3)
    native().encode(draw_symbols(tables, 5), None, tables, 1)
    for which, lanes in ((np.full(5, 1, np.uint8), 1), (np.zeros(4, np.uint8), 1), (None, 2)):
        with pytest.raises(ValueError):
            native().encode(draw_symbols(tables, 5), which, tables, lanes)
        with pytest.raises(ValueError):
            native().decode(bytes(9), 5, which, tables, lanes)
    with pytest.raises(ValueError):
        native().decode(bytes(9), -1, None, tables, 1)
