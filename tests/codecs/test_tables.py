"""Frequency tables: canonical bytes, hashes, costs, fitting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.codecs import Context
from splitnet.codecs.fitting import best_frequencies, cluster, fit_tables
from splitnet.codecs.tables import (
    ESCAPE,
    ChannelTables,
    Tables,
    hash_of,
    load_channel_tables,
    log2_256,
    scale_frequencies,
)
from splitnet.errors import CodecError, CorruptPayloadError, MissingTableError


def symbols_of_channels(
    channels: int = 6, seed: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return (8, C, 12, 12) symbols; every other channel is dense, the others are mostly 0."""
    random = np.random.default_rng(seed)
    found = random.binomial(40, 0.5, (8, channels, 12, 12))
    found[:, 1::2] *= random.random(found[:, 1::2].shape) < 0.1
    return found.astype(np.uint8)


@pytest.mark.parametrize("per_channel", [False, True])
def test_bytes_round_trip_and_name_themselves(per_channel: bool) -> None:
    fitted = fit_tables(symbols_of_channels(), per_channel=per_channel)
    data = fitted.to_bytes()
    again = load_channel_tables(hash_of(data), Context({hash_of(data): data}))
    assert again.to_bytes() == data
    assert again.channels == fitted.channels
    assert np.array_equal(again.tables.frequencies, fitted.tables.frequencies)


def test_a_missing_table_is_named() -> None:
    with pytest.raises(MissingTableError, match="a" * 64):
        load_channel_tables("a" * 64, Context({"b" * 64: b""}))


def test_a_table_under_a_wrong_hash_is_refused() -> None:
    data = fit_tables(symbols_of_channels()).to_bytes()
    with pytest.raises(CorruptPayloadError, match="damaged"):
        load_channel_tables("a" * 64, Context({"a" * 64: data}))


def test_damaged_tables_are_refused_or_canonical() -> None:
    data = fit_tables(symbols_of_channels(3) // 8, per_channel=True).to_bytes()
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            try:
                found = ChannelTables.from_bytes(damaged)
            except CorruptPayloadError:
                continue
            assert found.to_bytes() == damaged
    for length in range(len(data)):
        with pytest.raises(CorruptPayloadError):
            ChannelTables.from_bytes(data[:length])


@given(st.binary(max_size=80))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptPayloadError):
        ChannelTables.from_bytes(data)


def test_costs_are_those_of_the_frequencies() -> None:
    tables = fit_tables(symbols_of_channels()).tables
    coded = np.flatnonzero(tables.frequencies[0, :ESCAPE])
    exact = 14 - np.log2(tables.frequencies[0, coded].astype(np.float64))
    found = tables.costs[0, coded] / 256
    assert (np.abs(found - exact) < 2 / 256).all()
    assert (np.delete(tables.costs[0], coded) >= 8 * 256).all()


@given(st.integers(1, 2**45))
def test_the_integer_logarithm_is_near(value: int) -> None:
    assert -2 <= log2_256(value) - 256 * np.log2(float(value)) <= 1e-6


@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=200).filter(any),
    st.integers(8, 14),
)
def test_scaled_frequencies_add_up(weights: list[int], precision: int) -> None:
    total = (1 << precision) - 1
    found = scale_frequencies(np.array(weights), total)
    assert found.sum() == total
    assert found.min() >= 1


@given(st.lists(st.floats(0.1, 1e9), min_size=1, max_size=60), st.integers(6, 14))
def test_best_frequencies_add_up_and_cost_little(weights: list[float], precision: int) -> None:
    values, total = np.array(weights), 1 << precision
    found = best_frequencies(values, total)
    assert found.sum() == total
    assert found.min() >= 1
    coarse = np.maximum(1, np.floor(values * (total - len(weights)) / values.sum()))
    cost = -(values * np.log2(found / total)).sum()
    assert cost <= -(values * np.log2(coarse / total)).sum() * (1 + 1e-9) + 1e-9


def test_alike_channels_share_a_table() -> None:
    fitted = fit_tables(symbols_of_channels(40), per_channel=True, most=2)
    numbers = np.frombuffer(fitted.channels, np.uint8)
    assert len(fitted.tables.frequencies) == 2
    assert len(set(numbers[0::2])) == len(set(numbers[1::2])) == 1
    assert numbers[0] != numbers[1]


def test_classes_have_no_gaps() -> None:
    counts = np.random.default_rng(0).poisson(3, (50, 256))
    classes = cluster(counts, 7)
    assert set(classes) == set(range(classes.max() + 1))


def test_a_table_for_each_symbol_of_a_batch() -> None:
    fitted = fit_tables(symbols_of_channels(2), per_channel=True)
    which = fitted.which((2, 2, 1, 3))
    assert which is not None
    assert which.tolist() == [0, 0, 0, 1, 1, 1] * 2


@pytest.mark.parametrize("shape", [(), (4,), (2, 7), (1, 7, 2, 2)])
def test_more_channels_than_tables_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError, match="channels"):
        fit_tables(symbols_of_channels(), per_channel=True).check_shape(shape)


def test_the_first_channels_have_their_own_tables() -> None:
    fitted = fit_tables(symbols_of_channels(6), per_channel=True)
    fitted.check_shape((1, 2, 3))
    which = fitted.which((1, 2, 3))
    assert which is not None
    assert which.tolist() == [0, 0, 0, 1, 1, 1]


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(CodecError, match="float32"):
        fit_tables(np.zeros(3, np.float32))
    with pytest.raises(CodecError, match="shape"):
        fit_tables(np.zeros((0, 3), np.uint8))
    with pytest.raises(CodecError, match="most"):
        fit_tables(np.zeros(3, np.uint8), most=0)
    with pytest.raises(CodecError, match="channels"):
        fit_tables(np.zeros(3, np.uint8), per_channel=True)


def test_bad_frequencies_are_refused() -> None:
    good = fit_tables(symbols_of_channels()).tables.frequencies
    for change in ({(0, 20): 3}, {(0, ESCAPE): 0}):
        bad = good.copy()
        for place, value in change.items():
            bad[place] = value
        with pytest.raises(CorruptPayloadError):
            Tables(bad, 14)
    with pytest.raises(CorruptPayloadError):
        Tables(good, 13)
