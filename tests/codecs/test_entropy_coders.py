"""The registered entropy coders: static, adaptive, and by neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from splitnet.codecs import Context, Header, header_of, make_codec
from splitnet.codecs import neighbours as neighbours_module
from splitnet.codecs.fitting import fit_tables
from splitnet.codecs.histogram import read_histogram, write_histogram
from splitnet.codecs.native import load_accelerator
from splitnet.codecs.neighbour_fitting import fit_neighbourhood
from splitnet.codecs.neighbourhood import Neighbourhood
from splitnet.codecs.rans import encode
from splitnet.codecs.tables import hash_of
from splitnet.errors import CodecError, CorruptPayloadError, MissingTableError

Symbols = NDArray[np.uint8]
ADAPTIVE = make_codec({"id": "rans-adaptive"})


def smooth(shape: tuple[int, ...], top: int, seed: int = 0) -> Symbols:
    """Return symbols from 0 to `top` that resemble their neighbours in every axis but the first."""
    found = np.random.default_rng(seed).normal(size=shape)
    for axis in range(1, len(shape)):
        found = found + np.roll(found, 1, axis) + np.roll(found, 2, axis)
    found = np.maximum(found, 0) / max(float(found.max()), 1e-9)
    return np.round(found * top).astype(np.uint8)


def entropy_bytes(symbols: Symbols) -> float:
    """Return the order-0 entropy of the whole array."""
    counts = np.bincount(symbols.ravel())
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


# ---- Static ----


def test_static_tables_serve_a_batch() -> None:
    data = fit_tables(smooth((8, 4, 9, 9), 15), per_channel=True).to_bytes()
    codec, context = (
        make_codec({"id": "rans", "table": hash_of(data)}),
        Context({hash_of(data): data}),
    )
    arrays = [smooth((1, 4, 9, 9), 15, seed) for seed in range(80)]
    payloads = [codec.encode(array, context) for array in arrays]
    found = codec.decode_batch(payloads, [header_of(array) for array in arrays], context)
    assert all(np.array_equal(one, array) for one, array in zip(found, arrays, strict=True))


def test_symbols_out_of_range_are_escaped() -> None:
    data = fit_tables(np.array([[3, 4, 4, 5, 5, 5]] * 50, np.uint8)).to_bytes()
    codec, context = (
        make_codec({"id": "rans", "table": hash_of(data)}),
        Context({hash_of(data): data}),
    )
    array = np.array([5, 4, 0, 5, 255, 5, 3, 4] * 20, np.uint8)
    payload = codec.encode(array, context)
    assert np.array_equal(codec.decode(payload, header_of(array), context), array)


@pytest.mark.parametrize("codec_id", ["rans", "rans-neighbours"])
def test_a_table_that_is_not_here_is_named(codec_id: str) -> None:
    codec = make_codec({"id": codec_id, "table": "0" * 64})
    with pytest.raises(MissingTableError, match="0" * 64):
        codec.encode(np.zeros((1, 3, 2, 2), np.uint8))
    with pytest.raises(MissingTableError, match="0" * 64):
        codec.decode(b"\x01", Header("uint8", (1, 3, 2, 2)))


@pytest.mark.parametrize("codec_id", ["rans", "rans-neighbours"])
@pytest.mark.parametrize("table", ["", "0" * 63, "G" * 64, "A" * 64])
def test_a_table_is_named_by_a_hash(codec_id: str, table: str) -> None:
    with pytest.raises(CodecError, match="hexadecimal"):
        make_codec({"id": codec_id, "table": table})
    with pytest.raises(CodecError, match="missing table"):
        make_codec({"id": codec_id})


# ---- Adaptive ----


def two_peaks(random: np.random.Generator) -> Symbols:
    return np.where(random.random(3000) < 0.5, 7, random.binomial(255, 0.7, 3000)).astype(np.uint8)


ADAPTIVE_SAMPLES = {
    "flat": lambda random: random.integers(0, 256, 1500),
    "bell": lambda random: random.binomial(255, 0.4, 5000),
    "spike": lambda random: random.binomial(255, 0.2, 9000) * (random.random(9000) < 0.4),
    "even": lambda random: random.integers(0, 128, 1500) * 2,
    "few": lambda random: random.choice([0, 17, 40, 200, 255], 6000),
    "four": lambda random: random.choice(4, 20_000, p=[0.9, 0.07, 0.02, 0.01]),
    "rare": lambda random: (random.random(400_000) < 0.005) * 255,
    "constant": lambda random: np.full(50_000, 9),
    "two peaks": two_peaks,
}


@pytest.mark.parametrize("name", ADAPTIVE_SAMPLES)
def test_adaptive_payloads_are_near_the_entropy(name: str) -> None:
    symbols = ADAPTIVE_SAMPLES[name](np.random.default_rng(1)).astype(np.uint8)
    payload = ADAPTIVE.encode(symbols)
    assert len(payload) <= 1.03 * entropy_bytes(symbols) + 64
    assert np.array_equal(ADAPTIVE.decode(payload, header_of(symbols)), symbols)


@given(st.dictionaries(st.integers(0, 255), st.integers(1, 2**31), min_size=1))
@settings(deadline=None)
def test_any_histogram_round_trips(counts: dict[int, int]) -> None:
    array = np.zeros(256, np.int64)
    array[list(counts)] = list(counts.values())
    data, tables = write_histogram(array)
    found, used = read_histogram(data + b"more")
    assert used == len(data)
    assert np.array_equal(found.frequencies, tables.frequencies)
    assert tables.frequencies[0, list(counts)].all()


@given(st.binary(max_size=60))
def test_random_histograms_are_refused_or_tables(data: bytes) -> None:
    try:
        read_histogram(data)
    except CorruptPayloadError:
        pass


# ---- Neighbours ----

SHAPES = [
    (3, 4, 7, 5),
    (2, 3, 1, 1),
    (4, 5),
    (2, 3, 11),
    (1, 3, 4, 2, 3),
    (2, 2, 1, 6),
    (2, 2, 6, 1),
]


@pytest.mark.parametrize("top", [1, 15, 255])
@pytest.mark.parametrize("shape", SHAPES)
def test_neighbours_of_any_shape(shape: tuple[int, ...], top: int) -> None:
    fitted = fit_neighbourhood(smooth((20, *shape[1:]), top, 1), earlier=2, bins=6)
    data = fitted.to_bytes()
    assert Neighbourhood.from_bytes(data).to_bytes() == data
    codec = make_codec({"id": "rans-neighbours", "table": hash_of(data)})
    context = Context({hash_of(data): data})
    for array in (smooth(shape, top), np.full(shape, top, np.uint8), smooth(shape, 255)):
        payload = codec.encode(array, context)
        assert np.array_equal(codec.decode(payload, header_of(array), context), array)


@pytest.mark.skipif(load_accelerator() is None, reason="the coder in C was not built")
@pytest.mark.parametrize("shape", [*SHAPES, (2, 6, 17, 13)])
def test_both_coders_choose_the_same_tables(shape: tuple[int, ...]) -> None:
    native = load_accelerator()
    assert native is not None
    fitted = fit_neighbourhood(smooth((20, *shape[1:]), 200, 1), earlier=3, bins=9)
    array = smooth(shape, 255)
    which = fitted.which(array)
    assert np.array_equal(native.which(array, fitted), which)
    stream = encode(array.ravel(), which, fitted.tables, 1)
    for found in (
        native.decode_neighbours(stream, shape, fitted),
        neighbours_module.decode_symbols(stream, shape, fitted),
    ):
        assert np.array_equal(found, array.ravel())


@pytest.mark.skipif(load_accelerator() is None, reason="the coder in C was not built")
@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(deadline=None, max_examples=60)
def test_both_coders_refuse_the_same_streams(at: int, flip: int) -> None:
    native = load_accelerator()
    assert native is not None
    shape = (1, 3, 5, 6)
    fitted = fit_neighbourhood(smooth((9, *shape[1:]), 15, 1), earlier=1, bins=3)
    array = smooth(shape, 17)
    stream = bytearray(encode(array.ravel(), fitted.which(array), fitted.tables, 1))
    stream[at % len(stream)] ^= flip
    try:
        expected = neighbours_module.decode_symbols(stream, shape, fitted)
    except CorruptPayloadError:
        with pytest.raises(CorruptPayloadError):
            native.decode_neighbours(stream, shape, fitted)
        return
    assert np.array_equal(native.decode_neighbours(stream, shape, fitted), expected)


def test_neighbours_save_bytes_on_smooth_symbols() -> None:
    calibration, array = smooth((16, 6, 16, 16), 15, 1), smooth((4, 6, 16, 16), 15)
    context = {}
    sizes = []
    for codec_id, fitted in (
        ("rans", fit_tables(calibration, per_channel=True)),
        ("rans-neighbours", fit_neighbourhood(calibration)),
    ):
        data = fitted.to_bytes()
        context[hash_of(data)] = data
        codec = make_codec({"id": codec_id, "table": hash_of(data)})
        sizes.append(len(codec.encode(array, Context(context))))
    assert sizes[1] < 0.8 * sizes[0]


def test_damaged_weights_are_refused() -> None:
    data = fit_neighbourhood(smooth((9, 3, 4, 4), 3), earlier=1, bins=3).to_bytes()
    for length in range(len(data)):
        with pytest.raises(CorruptPayloadError):
            Neighbourhood.from_bytes(data[:length])
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x81
        try:
            found = Neighbourhood.from_bytes(damaged)
        except CorruptPayloadError:
            continue
        assert found.to_bytes() == damaged


def test_what_weights_cannot_be_fitted_to_is_refused() -> None:
    with pytest.raises(CodecError, match="shape"):
        fit_neighbourhood(np.zeros(4, np.uint8))
    with pytest.raises(CodecError, match="bins"):
        fit_neighbourhood(np.zeros((1, 2, 3), np.uint8), bins=200)
    with pytest.raises(CodecError, match="earlier"):
        fit_neighbourhood(np.zeros((1, 2, 3), np.uint8), earlier=99)
