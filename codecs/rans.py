"""Interleaved range coding with asymmetric numeral systems: the reference coder.

It defines the bytes; the accelerator makes the same. A stream holds the final state of each lane
(32 bits, little endian), the words (16 bits) in the order in which a decoder needs them, and last
the escaped symbols, the first one at the very end. Symbol i belongs to lane i mod lanes.

Source: Duda, Asymmetric numeral systems, 2013 (arXiv 1311.2540); the interleaving of one stream of
words is that of Giesen, Interleaved entropy coders, 2014 (arXiv 1402.3392), section 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import Buffer
from splitnet.codecs.tables import ESCAPE, Tables, Which
from splitnet.errors import CorruptPayloadError

LOWEST = 1 << 16
"""A state is from LOWEST to 2**32 - 1. An encoder starts here, so a decoder ends here."""

STATE_BYTES = 4

_WORD_BITS = 16
_WORD = (1 << _WORD_BITS) - 1
_VECTOR_LANES = 64  # from here on a step of numpy costs less than as many steps of Python

_EARLY = "the stream ends before its last symbol"
_ODD = "the stream does not end in the state in which encoders start"

Symbols = NDArray[np.uint8]
_EncodeRow = tuple[int, int, int, int]  # limit, frequency, 2**precision - frequency, start
_DecodeRow = tuple[int, int, int]  # see `_decode_rows` and `_slot_rows`


def measure(symbols: Symbols, which: Which | None, tables: Tables) -> int:
    """Return what `symbols` (uint8, flat) take in 1/256 bit."""
    if which is None:
        return int(np.bincount(symbols, minlength=ESCAPE) @ tables.costs[0])
    return int(tables.costs[which, symbols].sum())


def encode(symbols: Symbols, which: Which | None, tables: Tables, lanes: int) -> bytes:
    """Return the stream of `symbols` (uint8, flat), each coded with its table of `tables`."""
    plain = symbols.tobytes()
    if which is None:
        escaped = plain.translate(None, tables.coded)  # deletes what the table codes
    else:
        escaped = symbols[tables.frequencies[which, symbols] == 0].tobytes()
    if lanes >= _VECTOR_LANES:
        stream = _encode_vector(symbols, which, tables, lanes)
    else:
        keys = plain if which is None else (which.astype(np.intp) << 8 | symbols).tolist()
        stream = _encode_scalar(keys, _encode_rows(tables), lanes)
    return stream + escaped[::-1]


def decode(data: Buffer, count: int, which: Which | None, tables: Tables, lanes: int) -> Symbols:
    """Return the `count` symbols of a stream.

    Raises
    ------
    CorruptPayloadError
        The stream ends early or late, or not in the state in which an encoder starts.
    """
    if lanes >= _VECTOR_LANES:
        return decode_in_step([data], count, which, tables, lanes)[0]
    states = list(_read_states(data, lanes))
    if lanes == 1 and which is None:
        symbols = _decode_plain(states[0], memoryview(data)[STATE_BYTES:], count, tables)
        if symbols is not None:
            return np.frombuffer(symbols, np.uint8)
    words = memoryview(data)[STATE_BYTES * lanes :]
    values = _little_endian(words)
    coded: list[int] = []
    try:
        if lanes == 1:
            states[0] = _decode_one(states[0], values, coded, _runs(which, count, tables), tables)
        else:
            _decode_scalar(states, values, coded, which, tables, count)
    except StopIteration:
        raise CorruptPayloadError(_EARLY) from None
    if any(state != LOWEST for state in states):
        raise CorruptPayloadError(_ODD)
    left = sum(1 for _ in values) * 2 + len(words) % 2
    return _place_escapes(coded, words[len(words) - left :])


def decode_in_step(
    streams: Sequence[Buffer], count: int, which: Which | None, tables: Tables, lanes: int = 1
) -> list[Symbols]:
    """Return the symbols of several streams of the same count, tables and lanes, step by step.

    Raises
    ------
    CorruptPayloadError
        As `decode`, for any of them.
    """
    shift, mask = tables.precision, (1 << tables.precision) - 1
    states = np.array([_read_states(data, lanes) for data in streams], np.int64)
    pieces = [memoryview(data)[STATE_BYTES * lanes :] for data in streams]
    padded = [bytes(piece) + b"\x00" * (len(piece) % 2) for piece in pieces]
    words = np.frombuffer(b"".join([*padded, b"\x00\x00"]), "<u2").astype(np.int64)
    firsts = np.cumsum([0] + [len(piece) // 2 for piece in padded])
    position = firsts[:-1].copy()
    frequencies, starts = tables.frequencies.astype(np.int64), tables.starts
    slots_to_symbols = _symbols_of_slots(tables)
    found = np.empty((len(streams), count), np.uint16)
    for first in range(0, count, lanes):
        last = min(first + lanes, count)
        state = states[:, : last - first]
        row = 0 if which is None else which[first:last].astype(np.intp)
        slot = state & mask
        symbol = slots_to_symbols[row, slot]
        state = frequencies[row, symbol] * (state >> shift) + slot - starts[row, symbol]
        needy = state < LOWEST
        rank = needy.cumsum(axis=1)
        word = words.take(position[:, None] + rank - 1, mode="clip")
        states[:, : last - first] = np.where(needy, state << _WORD_BITS | word, state)
        position += rank[:, -1]
        found[:, first:last] = symbol
    if (states != LOWEST).any() or (position > firsts[1:]).any():
        raise CorruptPayloadError(_ODD)
    used = 2 * (position - firsts[:-1])
    return [
        _place_escapes(coded, piece[end:])
        for coded, piece, end in zip(found, pieces, used.tolist(), strict=True)
    ]


class SymbolReader:
    """Decodes a stream of one lane symbol by symbol, where each decides on the next one's table.

    Raises
    ------
    CorruptPayloadError
        Where the stream ends early.
    """

    def __init__(self, data: Buffer, tables: Tables) -> None:
        self._data = memoryview(data)
        self._tables = tables
        (self._state,) = _read_states(data, 1)
        self._word = STATE_BYTES
        self._tail = len(data)

    def read(self, table: int) -> int:
        """Return the next symbol, coded with table number `table`."""
        x, precision = self._state, self._tables.precision
        gap, start, symbol = _decode_rows(self._tables, table)[x & (1 << precision) - 1]
        if symbol == ESCAPE:
            self._tail -= 1
            if self._tail < self._word:
                raise CorruptPayloadError(_EARLY)
            symbol = self._data[self._tail]
        x -= (x >> precision) * gap + start
        if x < LOWEST:
            word = self._data[self._word : self._word + 2]
            self._word += 2
            if self._tail < self._word:
                raise CorruptPayloadError(_EARLY)
            x = x << _WORD_BITS | word[0] | word[1] << 8
        self._state = x
        return symbol

    def close(self) -> None:
        """Raise `CorruptPayloadError` unless everything was read."""
        if self._state != LOWEST or self._word != self._tail:
            raise CorruptPayloadError(_ODD)


def _encode_scalar(keys: Sequence[int], rows: Sequence[_EncodeRow], lanes: int) -> bytes:
    """Encode with Python integers from the last symbol to the first; `keys` are indices of rows."""
    words: list[int] = []
    push = words.append
    states = [LOWEST] * lanes
    if lanes == 1:
        x = LOWEST
        for limit, frequency, gap, start in map(rows.__getitem__, keys[::-1]):
            if x >= limit:
                push(x & _WORD)
                x >>= _WORD_BITS
            x += x // frequency * gap + start
        states[0] = x
    else:
        for i in range(len(keys) - 1, -1, -1):
            limit, frequency, gap, start = rows[keys[i]]
            x = states[i % lanes]
            if x >= limit:
                push(x & _WORD)
                x >>= _WORD_BITS
            states[i % lanes] = x + x // frequency * gap + start
    words.reverse()
    return struct.pack(f"<{lanes}I{len(words)}H", *states, *words)


def _encode_vector(symbols: Symbols, which: Which | None, tables: Tables, lanes: int) -> bytes:
    """Encode a step of all lanes at once, from the last step to the first."""
    rows = np.zeros(symbols.size, np.intp) if which is None else which.astype(np.intp)
    coded = np.where(tables.frequencies[rows, symbols] > 0, symbols, np.uint16(ESCAPE))
    frequency = tables.frequencies[rows, coded].astype(np.int64)
    start = tables.starts[rows, coded]
    limit = frequency << (32 - tables.precision)
    gap = (1 << tables.precision) - frequency
    states = np.full(lanes, LOWEST, np.int64)
    pieces: list[NDArray[np.int64]] = []
    for first in range((symbols.size - 1) // lanes * lanes, -1, -lanes):
        step = slice(first, first + lanes)
        state = states[: frequency[step].size]
        full = state >= limit[step]
        pieces.append(state[full] & _WORD)
        state[full] >>= _WORD_BITS
        state += state // frequency[step] * gap[step] + start[step]
    words = np.concatenate([*pieces[::-1]]).astype("<u2")
    return states.astype("<u4").tobytes() + words.tobytes()


def _decode_plain(x: int, data: memoryview, count: int, tables: Tables) -> bytes | None:
    """Decode one lane of one table in the fewest steps; ``None`` if there are escapes or damage."""
    # Rows by slot, and a method that is not bound first: what CPython does in the least time.
    coded: list[int] = []
    rows, words = _slot_rows(tables), tuple(_little_endian(data))
    shift, mask, lowest = tables.precision, (1 << tables.precision) - 1, LOWEST
    # Not more words at once than stand for some 1,000 symbols: damage could ask for any number.
    at_once = 1 + (64 * tables.rarest_other >> shift)
    for first in range(0, len(words), at_once):
        for word in words[first : first + at_once]:
            while x >= lowest:
                frequency, base, symbol = rows[x & mask]
                coded.append(symbol)
                x = (x >> shift) * frequency + base
            x = x << 16 | word
        if len(coded) > count:
            return None
    for _ in repeat(None, count - len(coded)):
        frequency, base, symbol = rows[x & mask]
        coded.append(symbol)
        x = (x >> shift) * frequency + base
    if x != lowest or len(data) % 2:
        return None
    try:
        return bytes(coded)
    except ValueError:  # an escape is no byte
        return None


def _decode_one(
    x: int,
    words: Iterator[int],
    coded: list[int],
    runs: Iterator[tuple[int, int]],
    tables: Tables,
) -> int:
    """Decode one lane; `runs` are (table, length). Return the last state."""
    following = words.__next__
    shift, mask, lowest = tables.precision, (1 << tables.precision) - 1, LOWEST
    for table, length in runs:
        rows = _decode_rows(tables, table)
        for _ in repeat(None, length):
            gap, start, symbol = rows[x & mask]
            coded.append(symbol)
            x -= (x >> shift) * gap + start
            if x < lowest:
                x = x << 16 | following()
    return x


def _decode_scalar(
    states: list[int],
    words: Iterator[int],
    coded: list[int],
    which: Which | None,
    tables: Tables,
    count: int,
) -> None:
    """Decode a few lanes in turn, changing `states`."""
    shift, mask, lanes = tables.precision, (1 << tables.precision) - 1, len(states)
    by_table = [_decode_rows(tables, table) for table in range(len(tables.frequencies))]
    chosen = bytes(count) if which is None else which.tobytes()
    for i in range(count):
        x = states[i % lanes]
        gap, start, symbol = by_table[chosen[i]][x & mask]
        coded.append(symbol)
        x -= (x >> shift) * gap + start
        states[i % lanes] = x if x >= LOWEST else x << _WORD_BITS | next(words)


def _read_states(data: Buffer, lanes: int) -> tuple[int, ...]:
    if len(data) < STATE_BYTES * lanes:
        raise CorruptPayloadError(f"{len(data)} bytes are too few for the states of {lanes} lanes")
    states = struct.unpack_from(f"<{lanes}I", data)
    if min(states) < LOWEST:
        raise CorruptPayloadError(f"a state is {min(states)}, must be at least {LOWEST}")
    return states


def _little_endian(data: memoryview) -> Iterator[int]:
    count = len(data) // 2
    return iter(struct.unpack_from(f"<{count}H", data))


def _place_escapes(coded: list[int] | NDArray[np.uint16], tail: Buffer) -> Symbols:
    """Return the symbols with the bytes of `tail`, the last one first, where escapes stand."""
    values = np.asarray(coded, np.uint16)
    escapes = np.flatnonzero(values == ESCAPE)
    if escapes.size != len(tail):
        raise CorruptPayloadError(
            f"{len(tail)} bytes are left behind the words, must be {escapes.size}, one for each "
            "escaped symbol"
        )
    symbols = values.astype(np.uint8)
    symbols[escapes] = np.frombuffer(tail, np.uint8)[::-1]
    return symbols


def _runs(which: Which | None, count: int, tables: Tables) -> Iterator[tuple[int, int]]:
    """Yield the table of each run of symbols that share one, and its length."""
    if which is None:
        return iter([(0, count)])
    firsts = np.flatnonzero(np.concatenate([[True], which[1:] != which[:-1]]))
    lengths = np.diff(firsts, append=count)
    return zip(which[firsts].tolist(), lengths.tolist(), strict=True)


@lru_cache(maxsize=16)
def _encode_rows(tables: Tables) -> list[_EncodeRow]:
    """Return what an encoder needs of symbol s of table t at index 256 t + s."""
    frequencies, starts = tables.frequencies.astype(np.int64), tables.starts
    coded = np.arange(ESCAPE)[None, :]
    coded = np.where(frequencies[:, :ESCAPE] > 0, coded, ESCAPE)
    frequency = np.take_along_axis(frequencies, coded, axis=1).ravel()
    start = np.take_along_axis(starts, coded, axis=1).ravel()
    limit = frequency << (32 - tables.precision)
    gap = (1 << tables.precision) - frequency
    return list(zip(limit.tolist(), frequency.tolist(), gap.tolist(), start.tolist(), strict=True))


@lru_cache(maxsize=256)
def _decode_rows(tables: Tables, table: int) -> list[_DecodeRow]:
    """Return what a decoder needs of each slot of a table; slots of a symbol share one row."""
    rows: list[_DecodeRow] = []
    start = 0
    for symbol, frequency in enumerate(tables.frequencies[table].tolist()):
        rows += [((1 << tables.precision) - frequency, start, symbol)] * frequency
        start += frequency
    return rows


@lru_cache(maxsize=8)
def _slot_rows(tables: Tables) -> list[_DecodeRow]:
    """Return frequency, slot less the symbol's first one, and symbol of each slot of table 0.

    Some 100 bytes a slot: for the one table of a latent, not for those of many channels.
    """
    row = tables.frequencies[0]
    symbols = np.repeat(np.arange(ESCAPE + 1), row)
    bases = np.arange(len(symbols)) - np.repeat(tables.starts[0], row)
    return list(zip(np.repeat(row, row).tolist(), bases.tolist(), symbols.tolist(), strict=True))


@lru_cache(maxsize=16)
def _symbols_of_slots(tables: Tables) -> NDArray[np.uint16]:
    """Return the symbol of each slot ``(T, 2**precision)``."""
    columns = np.arange(ESCAPE + 1, dtype=np.uint16)
    return np.stack([np.repeat(columns, row) for row in tables.frequencies])
