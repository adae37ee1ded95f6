"""Blocks with a table of their own."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from splitnet.codecs import Array, Header, header_of, make_codec, pack
from splitnet.codecs.block_fitting import fit_blocks
from splitnet.codecs.blocks import BlockTables, spread
from splitnet.codecs.calibrating import calibrate
from splitnet.codecs.coder import encode_symbols
from splitnet.errors import CodecError, CorruptPayloadError
from tests.codecs.cases import SMALL_BLOCKS, SMALL_BLOCKS_CONTEXT

TABLES = BlockTables.from_bytes(SMALL_BLOCKS_CONTEXT.tables[SMALL_BLOCKS])


def uneven(samples: int, side: int, seed: int = 0) -> Array:
    """Return symbols (N, 6, 24, 24) that are small or large in each block."""
    random = np.random.default_rng(seed)
    rates = random.choice([0.2, 4.0, 20.0], (samples, 6, 24 // side, 24 // side))
    rates = rates.repeat(side, axis=2).repeat(side, axis=3)
    return random.poisson(rates).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [24, 8, 4])
def test_blocks_that_differ_get_tables_of_their_own(side: int) -> None:
    fitted = calibrate({"id": "rans-blocks"}, [uneven(24, side)])
    plain = calibrate({"id": "rans", "per_channel": True}, [uneven(24, side)])
    symbols = uneven(1, side, seed=1)
    sizes = [
        len(make_codec(found.config).encode(symbols, found.context)) for found in (fitted, plain)
    ]
    assert sizes[0] < 0.95 * sizes[1]
    (table,) = fitted.tables.values()
    assert BlockTables.from_bytes(table).side == side % 24


def test_each_block_has_the_cheapest_table() -> None:
    symbols = np.repeat(np.array([0, 80, 160, 240], np.uint8), 6).reshape(1, 3, 2, 4)
    choices = TABLES.choose(symbols)
    assert choices.shape == (1, 3, 1, 2)
    for number in range(4):
        others = np.full_like(choices, number)
        flat = symbols.reshape(-1)
        costs = [
            int(TABLES.tables.costs[TABLES.which(which, symbols.shape), flat].sum())
            for which in (choices, others)
        ]
        assert costs[0] <= costs[1] + 4 * 6 * 256


def test_what_is_said_of_a_block_holds_for_its_symbols() -> None:
    choices = np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3)
    found = spread(choices, (1, 1, 3, 5), 2).reshape(3, 5)
    assert found.tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]


def test_a_block_larger_than_its_channel_takes_no_memory() -> None:
    """Written out, 65536 blocks of 255 by 255 symbols would be 4 GB."""
    choices = np.zeros((1, 1 << 16, 1, 1), np.uint8)
    tracemalloc.start()
    assert spread(choices, choices.shape, 255).size == 1 << 16
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("shape", [(1, 3), (1, 2, 5), (1, 3, 3, 5), (2, 1, 2, 3, 4)])
def test_blocks_at_the_edge_are_smaller(shape: tuple[int, ...]) -> None:
    symbols = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    codec = make_codec({"id": "rans-blocks", "table": SMALL_BLOCKS})
    data = codec.encode(symbols, SMALL_BLOCKS_CONTEXT)
    assert np.array_equal(codec.decode(data, header_of(symbols), SMALL_BLOCKS_CONTEXT), symbols)


def test_a_table_that_is_not_there_is_refused() -> None:
    header = Header("uint8", (1, 1, 2, 2))
    choices = np.array([9], np.uint8)
    which = TABLES.choices.which((1, 1, 1, 1))
    symbols = np.zeros(4, np.uint8)
    data = pack(
        [
            encode_symbols(choices, which, TABLES.choices.tables),
            encode_symbols(symbols, np.zeros(4, np.uint8), TABLES.tables),
        ]
    )
    with pytest.raises(CorruptPayloadError, match="table 9 is chosen, there are 4"):
        make_codec({"id": "rans-blocks", "table": SMALL_BLOCKS}).decode(
            data, header, SMALL_BLOCKS_CONTEXT
        )


@pytest.mark.parametrize("cut", [0, 3, 9, 40, -1])
def test_tables_that_are_cut_off_are_refused(cut: int) -> None:
    with pytest.raises(CorruptPayloadError):
        BlockTables.from_bytes(TABLES.to_bytes()[:cut])


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(CodecError, match="fitted to uint8 symbols with channels"):
        fit_blocks(np.zeros(4, np.uint8))
